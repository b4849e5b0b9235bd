use super::*;
use crate::checks::View;
use crate::peers::Quality;

mod properties;

pub(super) fn quality(loss: f32) -> Quality {
    Quality { up: true, rtt_us: 2000.0, loss }
}

pub(super) fn sight(ms: u64) -> Sight {
    let target = Target {
        connected: true,
        alarm: false,
        path: Some(quality(0.0)),
        rounds: 0,
        direct: Some(quality(0.0)),
    };
    Sight {
        now: Nanos::from_millis(ms),
        own: quality(0.0),
        target,
        imminent: false,
        alarm: None,
        lingers: false,
        sessions_missing: None,
        mirror: None,
        checks: Vec::new(),
        mute: false,
    }
}

/// A check of which both engines' newest attempt began at `ms`.
pub(super) fn check(own: CheckState, other: CheckState, ms: u64) -> Sighted {
    let view = |state| View {
        state,
        good: state == CheckState::Passing,
        began: Some(Nanos::from_millis(ms)),
        reason: "connection refused".to_owned(),
    };
    Sighted {
        name: "web".to_owned(),
        blocks: true,
        opinion: Nanos::from_millis(6000),
        own: view(own),
        other: view(other),
    }
}

/// With a check that both engines see so.
fn checked(ms: u64, own: CheckState, other: CheckState) -> Sight {
    Sight { checks: vec![check(own, other, ms)], ..sight(ms) }
}

pub(super) fn begin(cause: Cause) -> Begin {
    let (from, to) = ("a1".to_owned(), "a2".to_owned());
    Begin { decision: 1, cause, rule: "a test".into(), from, to, overrule: false, undoes: false }
}

fn switchover(cause: Cause) -> Switchover {
    Switchover::new(begin(cause), ShiftConfig::default(), &sight(0))
}

fn stages(s: &Switchover) -> Vec<(Stage, bool)> {
    s.way.passages().iter().map(|passage| (passage.stage, passage.skipped)).collect()
}

/// Steps are answered at once, until something else is ordered; (percents, order, milliseconds).
fn run(s: &mut Switchover, from: u64, see: impl Fn(u64) -> Sight) -> (Vec<u8>, Order, u64) {
    let mut percents = Vec::new();
    for ms in (from..from + 120_000).step_by(5) {
        match s.poll(&see(ms)) {
            Order::Wait => {}
            Order::Apply { percent } => {
                percents.push(percent);
                s.applying(Nanos::from_millis(ms), 2, BTreeSet::new());
            }
            order => return (percents, order, ms),
        }
    }
    panic!("never ends: {s:?}");
}

#[test]
fn goes_stage_by_stage_and_ends() {
    let mut s = switchover(Cause::Predicted);
    let (percents, order, ms) = run(&mut s, 0, sight);
    assert_eq!((percents, order), (vec![5, 25, 50, 100], Order::HandOver));
    assert!((4000..4100).contains(&ms), "{ms}");
    s.handing_over(Nanos::from_millis(ms + 1200));
    assert!(s.is_moving() && s.handed_over(Nanos::from_millis(ms + 10)) && !s.is_moving());
    let (_, order, ended) = run(&mut s, ms + 10, sight);
    assert!(order == Order::End && (ms + 10_000..ms + 10_100).contains(&ended), "{order:?} {ended}");
    assert_eq!(stages(&s), Stage::ALL[..7].iter().map(|stage| (*stage, false)).collect::<Vec<_>>());
    assert_eq!(s.poll(&sight(1_000_000)), Order::Wait, "nothing more");
}

#[test]
fn the_former_owner_is_free_when_nothing_lingers() {
    let mut s = switchover(Cause::Manual);
    s.config.watch = Nanos(0);
    let (_, _, ms) = run(&mut s, 0, sight);
    s.handed_over(Nanos::from_millis(ms));
    let (_, _, ended) = run(&mut s, ms, |at| Sight { lingers: at < ms + 5000, ..sight(at) });
    assert!((ms + 5000..ms + 5100).contains(&ended), "{ended}");
}

#[test]
fn hurries_when_failure_is_imminent_or_felt() {
    let hurried = |ms| Sight { imminent: true, ..checked(ms, CheckState::Passing, CheckState::Passing) };
    let (_, order, ms) = run(&mut switchover(Cause::Predicted), 0, hurried);
    assert!(order == Order::HandOver && ms < 1200, "{ms}");
    let felt = |ms| Sight { own: quality(0.1), ..sight(ms) };
    let (_, order, ms) = run(&mut switchover(Cause::Predicted), 0, felt);
    assert!(order == Order::HandOver && ms < 1200, "{ms}");
}

/// As [`sight`], the target's reports every so many milliseconds.
fn reported(every_ms: u32, ms: u64) -> Sight {
    let mut seen = sight(ms);
    seen.target.rounds = ms as u32 / every_ms;
    seen
}

#[test]
fn a_move_takes_a_twentieth_of_what_the_alarm_leaves() {
    let left =
        |seconds: u64| move |ms| Sight { alarm: Some(Nanos::from_millis(seconds * 1000)), ..sight(ms) };
    // Half of a twentieth is watched, and the last step until it would be known that the target is bad, which is sooner where it is
    // looked at closely; here steps are applied at once.
    for (seconds, closely, else_) in
        [(1, 400, 550), (5, 400, 550), (10, 435, 585), (20, 625, 775), (40, 1000, 1150), (600, 4000, 4000)]
    {
        for (every_ms, expected) in [(20, closely), (30, closely), (100, else_), (u32::MAX, else_)] {
            let mut s = switchover(Cause::Predicted);
            let see = |ms| Sight { target: reported(every_ms, ms).target, ..left(seconds)(ms) };
            let (percents, order, ms) = run(&mut s, 0, see);
            assert_eq!((percents, order), (vec![5, 25, 50, 100], Order::HandOver));
            let told = format!("{seconds} s left, reports every {every_ms} ms: {ms} ms");
            assert!((expected..expected + 50).contains(&ms), "{told}");
            assert!(s.move_within().0 <= s.watching(&see(ms)).0 / 2, "moved before it is judged");
        }
    }
    // Reports that came before the last step say nothing of it, and those that end are waited for.
    let silent = |ms: u64| Sight { target: reported(20, ms.min(250)).target, ..left(1)(ms) };
    assert!((550..600).contains(&run(&mut switchover(Cause::Predicted), 0, silent).2));
    // What was said once is not forgotten, and an alarm during another move speeds it up.
    let cleared = |ms| if ms < 20 { left(5)(ms) } else { sight(ms) };
    assert!(run(&mut switchover(Cause::Predicted), 0, cleared).2 < 600);
    let late = |ms| if ms < 2100 { sight(ms) } else { left(5)(ms) };
    assert!(run(&mut switchover(Cause::Manual), 0, late).2 < 2600);
    // However little time there is, a target that looks bad before it owns the site is looked at until it is known.
    let mut worse = sight(0);
    worse.target.path = Some(quality(0.2));
    let lossy =
        |ms| if ms < 540 { left(1)(ms) } else { Sight { now: Nanos::from_millis(ms), ..worse.clone() } };
    assert!(matches!(run(&mut switchover(Cause::Predicted), 0, lossy).1, Order::RollBack(_)));
    let looked_so = |ms| if ms < 680 { lossy(ms) } else { sight(ms) };
    let (_, order, ms) = run(&mut switchover(Cause::Predicted), 0, looked_so);
    assert!(order == Order::HandOver && ms == 680, "{order:?} {ms}");
}

#[test]
fn what_is_sudden_skips_and_says_so() {
    let mut s = switchover(Cause::Predicted);
    let gone = |ms| Sight { own: Quality { up: ms < 1500, ..quality(0.0) }, ..sight(ms) };
    let (percents, order, ms) = run(&mut s, 0, gone);
    assert_eq!((percents, order, ms), (vec![5, 25], Order::HandOver, 1500));
    let expected = [Stage::Prewarm, Stage::MirrorCheck, Stage::Shift].map(|stage| (stage, false));
    assert_eq!(stages(&s)[..3], expected);
    assert_eq!(stages(&s)[3..], [(Stage::Verify, true), (Stage::HandOver, false)]);
    let at_once = Switchover::at_once(begin(Cause::Sudden), ShiftConfig::default(), &sight(0), "path down");
    assert_eq!(stages(&at_once).iter().filter(|(_, skipped)| *skipped).count(), 4);
    let mut taken =
        Switchover::taken(begin(Cause::Sudden), ShiftConfig::default(), &sight(0), "lease expired");
    assert_eq!(taken.stage(), Stage::Watch);
    let failing = |ms| checked(ms, CheckState::Failing, CheckState::Unknown);
    assert_eq!(run(&mut taken, 0, failing).1, Order::End, "alive is better than perfect");
}

#[test]
fn rolls_back_when_the_target_regresses() {
    let worse: [fn(&mut Target); 5] = [
        |t| t.path = Some(Quality { up: false, ..quality(0.0) }),
        |t| t.path = Some(quality(0.2)),
        |t| t.direct = Some(quality(0.2)),
        |t| t.path = Some(Quality { rtt_us: 12_000.0, ..quality(0.0) }),
        |t| t.alarm = true,
    ];
    for (i, worse) in worse.iter().enumerate() {
        let see = |ms| {
            let mut s = sight(ms);
            if ms > 1500 {
                worse(&mut s.target);
            }
            s
        };
        let (percents, order, ms) = run(&mut switchover(Cause::Predicted), 0, see);
        assert!(matches!(order, Order::RollBack(_)), "{i}: {order:?}");
        assert!(percents == [5, 25] && ms < 1700, "{i}: {percents:?} {ms}");
    }
}

#[test]
fn a_bad_moment_of_the_target_is_forgiven() {
    let see = |ms| {
        let mut s = sight(ms);
        if (1500..1600).contains(&ms) {
            s.target.path = Some(quality(0.2));
        }
        s
    };
    assert_eq!(run(&mut switchover(Cause::Predicted), 0, see).1, Order::HandOver);
}

#[test]
fn silence_of_the_far_end_undoes_it_unless_our_own_path_is_the_reason() {
    let waiting = || {
        let mut s = switchover(Cause::Manual);
        assert_eq!(s.poll(&sight(0)), Order::Apply { percent: 5 });
        s.applying(Nanos(0), 7, BTreeSet::from(["b1".to_owned()]));
        s
    };
    let mut s = waiting();
    s.applied("b1", 6);
    assert_eq!(s.poll(&sight(500)), Order::Wait);
    assert!(s.status().waits_for.expect("waits").contains("b1 to apply"));
    assert_eq!(s.poll(&sight(1001)), Order::RollBack("no answer from b1".into()));
    let mut s = waiting();
    assert_eq!(s.poll(&Sight { own: quality(0.5), ..sight(1001) }), Order::HandOver);
    let mut s = waiting();
    s.applied("b1", 7);
    assert_eq!((s.poll(&sight(1)), s.stage()), (Order::Wait, Stage::Shift));
}

#[test]
fn an_application_that_only_we_reach_keeps_the_traffic_here() {
    use CheckState::{Failing, Passing, Unknown};
    let refusal = |own, other| checked(0, own, other).checks_fault();
    let told = refusal(Passing, Failing).expect("refused");
    assert_eq!(told, "check web fails at the target: connection refused; it passes here");
    assert!(refusal(Unknown, Failing).is_some());
    for (own, other) in [(Failing, Failing), (Failing, Passing), (Passing, Passing), (Passing, Unknown)] {
        assert_eq!(refusal(own, other), None, "{own:?} {other:?}");
    }
    for cause in [Cause::Manual, Cause::Predicted] {
        let order = run(&mut switchover(cause), 0, |ms| checked(ms, Passing, Failing)).1;
        assert_eq!(order, Order::RollBack(told.clone()));
    }
    let only_told = |ms| {
        let mut sight = checked(ms, Passing, Failing);
        sight.checks[0].blocks = false;
        sight
    };
    assert_eq!(run(&mut switchover(Cause::Manual), 0, only_told).1, Order::HandOver);
    let mut overruled = switchover(Cause::Manual);
    overruled.begin.overrule = true;
    assert_eq!(run(&mut overruled, 0, |ms| checked(ms, Passing, Failing)).1, Order::HandOver);
}

#[test]
fn what_the_target_says_of_applications_is_waited_for_but_not_for_long() {
    use CheckState::{Passing, Unknown};
    let late = |ms| checked(ms, Passing, if ms < 3000 { Unknown } else { Passing });
    let mut s = switchover(Cause::Manual);
    assert_eq!(s.poll(&late(0)), Order::Wait);
    assert!(s.status().waits_for.expect("waits").contains("check web is not known"));
    let (percents, order, ms) = run(&mut s, 5, late);
    assert!(order == Order::HandOver && percents.len() == 4 && ms >= 7000, "{order:?} {ms}");
    let (percents, order, ms) = run(&mut switchover(Cause::Manual), 0, |ms| checked(ms, Passing, Unknown));
    assert!(matches!(order, Order::RollBack(why) if why.contains("not known")) && percents.is_empty());
    assert_eq!(ms, 10_000);
    let mute = |ms| Sight { mute: true, ..checked(ms, Passing, Unknown) };
    assert_eq!(
        run(&mut switchover(Cause::Manual), 0, mute).1,
        Order::HandOver,
        "an older version tells nothing"
    );
}

#[test]
fn sessions_that_the_target_does_not_hold_are_waited_for() {
    let told = |ms| Sight { sessions_missing: (ms < 3000).then(|| "a2 is still told".into()), ..sight(ms) };
    let (_, order, ms) = run(&mut switchover(Cause::Manual), 0, told);
    assert!(order == Order::HandOver && ms >= 7000, "{order:?} {ms}");
    let never = |ms| Sight { sessions_missing: Some("a2 is still told".into()), ..sight(ms) };
    let (percents, order, ms) = run(&mut switchover(Cause::Manual), 0, never);
    assert_eq!((percents, order, ms), (vec![], Order::RollBack("a2 is still told".into()), 10_000));
    // What it does not hold when this engine dies is lost anyway.
    let alarmed = |ms| Sight { alarm: Some(Nanos::from_millis(20_000)), ..never(ms) };
    let mut s = switchover(Cause::Predicted);
    let (_, order, ms) = run(&mut s, 0, alarmed);
    assert!(order == Order::HandOver && ms > 10_000, "{order:?} {ms}");
    assert_eq!(s.way.passages()[1].reason, "not waited for any longer: a2 is still told");
    let soon = |ms| Sight { alarm: Some(Nanos::from_millis(5000)), ..never(ms) };
    let (_, order, ms) = run(&mut switchover(Cause::Predicted), 0, soon);
    assert!(order == Order::HandOver && (2500..3200).contains(&ms), "half of what is left: {order:?} {ms}");
    let hurried = |ms| Sight { imminent: true, ..never(ms) };
    let (_, order, ms) = run(&mut switchover(Cause::Predicted), 0, hurried);
    assert!(order == Order::HandOver && ms < 10_000, "{order:?} {ms}");
    let mut overruled = switchover(Cause::Manual);
    overruled.begin.overrule = true;
    let (_, order, ms) = run(&mut overruled, 0, never);
    assert!(order == Order::HandOver && ms < 10_000, "{order:?} {ms}");
}

#[test]
fn an_application_lost_on_the_way_rolls_it_back() {
    use CheckState::{Failing, Passing};
    let at_target = |ms| checked(ms, Passing, if ms < 1500 { Passing } else { Failing });
    let here = |ms| checked(ms, if ms < 1500 { Passing } else { Failing }, Passing);
    for cause in [Cause::Manual, Cause::Predicted] {
        let (percents, order, _) = run(&mut switchover(cause), 0, at_target);
        assert!(
            percents == [5, 25] && matches!(order, Order::RollBack(why) if why.contains("at the target"))
        );
    }
    let order = run(&mut switchover(Cause::Manual), 0, here).1;
    assert!(matches!(order, Order::RollBack(why) if why.contains("at this engine")));
    let order = run(&mut switchover(Cause::Predicted), 0, here).1;
    assert_eq!(order, Order::HandOver, "that we fail is why we move");
    let undoing = Begin { undoes: true, ..begin(Cause::Manual) };
    let mut undoing = Switchover::new(undoing, ShiftConfig::default(), &sight(0));
    assert_eq!(run(&mut undoing, 0, here).1, Order::HandOver, "that we fail is why it comes back");
    let neither = |ms| checked(ms, Failing, Failing);
    assert_eq!(run(&mut switchover(Cause::Manual), 0, neither).1, Order::HandOver);
}

#[test]
fn a_whole_round_must_be_good_after_the_last_step() {
    use CheckState::Passing;
    // The newest attempt began before everything had moved.
    let old = |ms: u64| Sight { checks: vec![check(Passing, Passing, ms.min(2900))], ..sight(ms) };
    let (percents, order, ms) = run(&mut switchover(Cause::Manual), 0, old);
    assert!(percents.len() == 4 && (10_000..10_100).contains(&ms), "{ms}");
    assert!(matches!(order, Order::RollBack(why) if why.contains("has not passed since")));
    let slow =
        |ms: u64| Sight { checks: vec![check(Passing, Passing, ms.saturating_sub(2500))], ..sight(ms) };
    let (_, order, ms) = run(&mut switchover(Cause::Manual), 0, slow);
    assert!(order == Order::HandOver && (5500..5600).contains(&ms), "{order:?} {ms}");
}

#[test]
fn a_new_owner_that_loses_an_application_is_asked_for_the_site_but_not_in_turn() {
    use CheckState::{Failing, Passing};
    let watched = |begin: Begin, see: fn(u64) -> Sight| {
        let mut s = Switchover::new(begin, ShiftConfig::default(), &sight(0));
        let (_, order, ms) = run(&mut s, 0, |ms| checked(ms, Passing, Passing));
        assert_eq!(order, Order::HandOver);
        s.handed_over(Nanos::from_millis(ms));
        (run(&mut s, ms + 5, see).1, stages(&s).last().expect("a stage").0)
    };
    let lost = |ms| checked(ms, Passing, Failing);
    let (order, stage) = watched(begin(Cause::Manual), lost);
    assert!(matches!(order, Order::AskBack(why) if why.contains("fails at a2")) && stage == Stage::RollBack);
    let both = |ms| checked(ms, Failing, Failing);
    assert_eq!(watched(begin(Cause::Manual), both), (Order::End, Stage::Decommission));
    let undoing = Begin { undoes: true, ..begin(Cause::Manual) };
    assert_eq!(watched(undoing, lost), (Order::End, Stage::Decommission));
    let alarmed = |ms| Sight { alarm: Some(Nanos::from_millis(5000)), ..checked(ms, Passing, Failing) };
    assert_eq!(watched(begin(Cause::Predicted), alarmed), (Order::End, Stage::Decommission));
}

#[test]
fn mirrored_traffic_is_heard_before_anything_moves() {
    let differs = |ms| Sight { mirror: Some("differs".into()), ..sight(ms) };
    let (percents, order, _) = run(&mut switchover(Cause::Manual), 0, differs);
    assert_eq!((percents, order), (vec![], Order::RollBack("differs".into())));
}
