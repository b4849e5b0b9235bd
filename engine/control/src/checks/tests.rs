use super::*;

fn ms(ms: u64) -> Nanos {
    Nanos::from_millis(ms)
}

fn config(name: &str) -> CheckConfig {
    let (interval, timeout) = (ms(1000), ms(500));
    CheckConfig { name: name.to_owned(), blocks: true, interval, timeout, rise: 2, fall: 3 }
}

fn fed(outcomes: &[bool]) -> (Checks, Nanos) {
    let mut checks = Checks::new(vec![config("web")]);
    let mut now = ms(0);
    for good in outcomes {
        now = now.plus(ms(1000));
        checks.result(0, now, if *good { Ok(()) } else { Err("connection refused".to_owned()) });
    }
    (checks, now)
}

#[test]
fn it_takes_some_in_a_row_to_change_a_mind() {
    use CheckState::{Failing, Passing, Unknown};
    let cases: [(&[bool], CheckState); 7] = [
        (&[], Unknown),
        (&[true], Unknown),
        (&[true, true], Passing),
        (&[true, true, false, false], Passing),
        (&[true, true, false, false, false], Failing),
        (&[false, false, false, true], Failing),
        (&[false, true, false, true, false], Unknown),
    ];
    for (outcomes, state) in cases {
        let (checks, now) = fed(outcomes);
        assert_eq!(checks.state(0, now).state, state, "{outcomes:?}");
    }
    let (checks, now) = fed(&[false; 3]);
    assert_eq!(checks.state(0, now).reason, "connection refused");
}

#[test]
fn what_is_old_is_unknown_and_begins_anew() {
    let (mut checks, now) = fed(&[true, true]);
    let late = now.plus(ms(5001));
    assert_eq!(checks.state(0, now.plus(ms(4999))).state, CheckState::Passing);
    assert_eq!(checks.state(0, late).state, CheckState::Unknown);
    checks.result(0, late, Ok(()));
    assert_eq!(checks.state(0, late).state, CheckState::Unknown, "one good attempt is not two in a row");
    checks.result(7, late, Ok(()));
}

/// Two engines of a site with a check each of the same name.
fn told(mine: &mut Checks, other: &mut Checks, now: Nanos) -> bool {
    let Some(Message::Checks { checks, .. }) = mine.due(now, "a") else { return false };
    other.heard(now, &checks);
    true
}

#[test]
fn engines_tell_each_other_what_changes_at_once_and_all_of_it_now_and_then() {
    let ((mut a1, now), (mut a2, _)) = (fed(&[true, true]), fed(&[false; 3]));
    assert_eq!(a1.due(now, "a"), None, "nobody is there to be told");
    a1.connected(true);
    a2.connected(true);
    assert!(a1.sight(now)[0].other.reason.contains("nothing heard"));
    assert!(told(&mut a2, &mut a1, now) && !told(&mut a2, &mut a1, now.plus(ms(100))));
    let seen = &a1.sight(now)[0];
    assert_eq!((seen.own.state, seen.other.state), (CheckState::Passing, CheckState::Failing));
    assert_eq!(seen.other.reason, "connection refused");
    a2.result(0, now.plus(ms(200)), Ok(()));
    assert!(told(&mut a2, &mut a1, now.plus(ms(300))), "its newest attempt is another");
    assert!(told(&mut a2, &mut a1, now.plus(ms(1400))), "said again");
    assert_eq!(a1.sight(now.plus(ms(4401)))[0].other.state, CheckState::Unknown, "not heard of for long");
}

#[test]
fn the_age_of_an_attempt_is_not_lost_on_the_way() {
    let ((mut a1, _), (mut a2, now)) = (fed(&[]), fed(&[true, true]));
    a1.connected(true);
    a2.connected(true);
    let said = now.plus(ms(700));
    assert!(told(&mut a2, &mut a1, said));
    let other = &a1.sight(said)[0].other;
    assert!(!other.good_since(now), "an attempt that began before is none that began after");
    assert!(other.good_since(Nanos(now.0 - 200_000_000)));
    assert_eq!(a1.sight(said.plus(ms(2900)))[0].other.state, CheckState::Passing);
    // Heard of a moment ago, but what is said is old: its checks have stopped.
    a1.heard(
        said,
        &[CheckReport {
            name: "web".into(),
            state: CheckState::Passing,
            good: true,
            age_ms: 5000,
            reason: String::new(),
        }],
    );
    assert_eq!(a1.sight(said)[0].other.state, CheckState::Unknown);
}

#[test]
fn who_does_not_tell_is_unknown_and_why_is_said() {
    let (mut a1, now) = fed(&[true, true]);
    let why = |checks: &Checks| {
        let other = checks.sight(now).remove(0).other;
        assert_eq!(other.state, CheckState::Unknown);
        other.reason
    };
    assert_eq!(why(&a1), "not connected");
    a1.connected(false);
    assert_eq!((why(&a1).as_str(), a1.other_is_mute()), ("its version does not tell of checks", true));
    a1.connected(true);
    a1.heard(now, &[]);
    assert_eq!((why(&a1).as_str(), a1.other_is_mute()), ("it has no such check", false));
    a1.disconnected();
    assert_eq!(why(&a1), "not connected");
}

#[test]
fn nonsense_of_a_peer_is_bounded() {
    let (mut a1, now) = fed(&[]);
    a1.connected(true);
    let report = |name: String| CheckReport {
        name,
        state: CheckState::Failing,
        good: false,
        age_ms: u64::MAX,
        reason: "é\n".repeat(10_000),
    };
    let many: Vec<CheckReport> =
        (0..5000).map(|i| report(format!("c{i}"))).chain([report("web".repeat(10_000))]).collect();
    a1.heard(now, &many);
    let Some((_, Some(heard))) = &a1.other else { panic!("heard") };
    assert_eq!(heard.reports.len(), CHECKS_MAX);
    assert!(heard.reports.values().all(|r| r.reason.len() <= SAID_MAX && !r.reason.contains('\n')));
    a1.heard(now, &[report("web".to_owned())]);
    assert_eq!(a1.sight(now)[0].other.state, CheckState::Unknown, "older than the clock");
}
