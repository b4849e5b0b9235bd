//! Whatever is seen: no way beside the table, no stage without an end, and a way back until ownership is given away.

use super::*;
use crate::rng::SplitMix;

/// Something that could be seen, good in every respect six times of seven.
fn anything(rng: &mut SplitMix, ms: u64) -> Sight {
    let fails_within = Nanos::from_millis(100 << rng.below(10));
    let mut often = |good: bool| if rng.below(40) == 0 { !good } else { good };
    let mut seen = sight(ms);
    seen.own.up = often(true);
    seen.target.connected = often(true);
    seen.target.alarm = often(false);
    seen.imminent = often(false);
    seen.alarm = often(false).then_some(fails_within);
    seen.mirror = often(false).then(|| "differs".to_owned());
    seen.sessions_missing = often(false).then(|| "not all sessions".to_owned());
    seen.mute = often(false);
    if !often(true) {
        seen.target.path = None;
    }
    if !often(true) {
        seen.own.loss = f32::NAN;
    }
    let states = [CheckState::Passing, CheckState::Unknown, CheckState::Failing];
    let mut state = || states[rng.below(12).saturating_sub(9) as usize % 3];
    let (own, other) = (state(), state());
    let age = rng.below(3000);
    seen.checks = vec![check(own, other, ms.saturating_sub(age))];
    seen.lingers = rng.below(2) == 0;
    seen
}

/// Longest stay in each stage with the default configuration, milliseconds; polls are 100 ms apart at most.
fn longest(stage: Stage, lingers: u64) -> u64 {
    let step = 1000 + 1000 + 200;
    match stage {
        Stage::Prewarm => 10_000 + 100,
        Stage::MirrorCheck | Stage::RollBack => 100,
        Stage::Shift => 4 * step,
        Stage::Verify => 1000 + 6000 + 100,
        Stage::HandOver => 1200 + 100,
        Stage::Watch => 10_000 + 100,
        Stage::Decommission => lingers + 100,
    }
}

/// One life; what it ended by.
fn live(seed: u64) -> Stage {
    const LINGERS: u64 = 5000;
    let mut rng = SplitMix::new(seed);
    let cause = [Cause::Predicted, Cause::Manual, Cause::Sudden][rng.below(3) as usize];
    let first = anything(&mut rng, 0);
    let mut s = match cause {
        Cause::Sudden if rng.below(2) == 0 => {
            Switchover::taken(begin(cause), ShiftConfig::default(), &first, "dead")
        }
        Cause::Sudden => Switchover::at_once(begin(cause), ShiftConfig::default(), &first, "cut off"),
        _ => Switchover::new(begin(cause), ShiftConfig::default(), &first),
    };
    // Some lives see nothing but good.
    let calm = rng.below(3) == 0;
    let (mut ms, mut given) = (0, cause == Cause::Sudden);
    s.handing_over(Nanos::from_millis(1200));
    loop {
        let before = s.clone();
        assert!(ms < 200_000, "seed {seed}: never ends: {s:?}");
        ms += 1 + rng.below(100);
        let stayed = Nanos::from_millis(ms).since(s.way.since()).as_millis();
        assert!(stayed <= longest(s.stage(), LINGERS) + 100, "seed {seed}: {stayed} ms in {:?}", s.stage());
        let mut seen =
            if calm { checked(ms, CheckState::Passing, CheckState::Passing) } else { anything(&mut rng, ms) };
        seen.lingers &= stayed < LINGERS;
        if !given {
            let mut undone = s.clone();
            undone.give_up(Nanos::from_millis(ms), "a person");
            assert_eq!((undone.stage(), undone.is_open()), (Stage::RollBack, false), "seed {seed}");
        }
        match s.poll(&seen) {
            Order::Apply { .. } => {
                let waiting = (rng.below(20) == 0).then(|| "b1".to_owned()).into_iter().collect();
                s.applying(Nanos::from_millis(ms), 1, waiting);
            }
            Order::HandOver => {
                assert!(!given, "seed {seed}: given away twice");
                given = true;
                s.handing_over(Nanos::from_millis(ms + 1200));
            }
            Order::RollBack(reason) => {
                assert!(!reason.is_empty());
                s.give_up(Nanos::from_millis(ms), &reason);
            }
            Order::Wait | Order::AskBack(_) | Order::End => {}
        }
        if s.stage() == Stage::HandOver && rng.below(4) == 0 {
            s.handed_over(Nanos::from_millis(ms));
        }
        kept_to_the_table(&before, &s, seed);
        if !s.is_open() {
            return s.stage();
        }
    }
}

fn kept_to_the_table(before: &Switchover, after: &Switchover, seed: u64) {
    let (before, after) = (before.way.passages(), after.way.passages());
    assert!(after.starts_with(&before[..before.len() - 1]), "seed {seed}: the past has changed");
    for pair in after.windows(2) {
        assert!(pair[0].stage.next().contains(&pair[1].stage), "seed {seed}: {pair:?}");
        assert!(pair[0].at <= pair[1].at && !pair[1].reason.is_empty(), "seed {seed}: {pair:?}");
    }
}

#[test]
fn whatever_is_seen_it_keeps_to_the_table_and_ends() {
    let mut ends = BTreeSet::new();
    for seed in 0..3000 {
        ends.insert(live(seed));
    }
    assert_eq!(ends, BTreeSet::from([Stage::Decommission, Stage::RollBack]));
}

#[test]
fn the_table_leads_forward_and_nowhere_else() {
    for stage in Stage::ALL {
        for next in stage.next() {
            assert!(*next > stage, "{stage:?} -> {next:?} leads back");
        }
        let ends = matches!(stage, Stage::Decommission | Stage::RollBack);
        assert_eq!(stage.next().is_empty(), ends);
        assert_eq!(stage.next().contains(&Stage::RollBack), !ends, "there is a way back from {stage:?}");
    }
    let mut way = Way::new(Nanos(0), "a test".into());
    assert!(!way.go(Nanos(1), Stage::HandOver, "too early") && way.stage() == Stage::Prewarm);
    assert!(!way.end(Nanos(1)) && way.go(Nanos(1), Stage::RollBack, "no") && way.end(Nanos(2)));
    assert!(!way.go(Nanos(3), Stage::MirrorCheck, "again") && !way.end(Nanos(3)));
}
