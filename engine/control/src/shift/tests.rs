use super::*;

fn quality(loss: f32) -> Quality {
    Quality { up: true, rtt_us: 2000.0, loss }
}

fn sight(ms: u64) -> Sight {
    let target =
        Target { connected: true, alarm: false, path: Some(quality(0.0)), direct: Some(quality(0.0)) };
    Sight { now: Nanos::from_millis(ms), own: quality(0.0), target, imminent: false }
}

fn shift() -> Shift {
    Shift::new(1, Cause::Predicted, "a2".into(), ShiftConfig::default(), &sight(0))
}

/// Applies steps, answered at once, until something else is ordered; (percents, end, milliseconds).
fn run(shift: &mut Shift, see: impl Fn(u64) -> Sight) -> (Vec<u8>, Order, u64) {
    let mut percents = vec![shift.percent()];
    shift.applying(Nanos(0), 1, BTreeSet::new());
    for ms in (0..60_000).step_by(5) {
        match shift.poll(&see(ms)) {
            Order::Wait => {}
            Order::Apply { percent } => {
                percents.push(percent);
                shift.applying(Nanos::from_millis(ms), 2, BTreeSet::new());
            }
            end => return (percents, end, ms),
        }
    }
    panic!("never ends: {shift:?}");
}

#[test]
fn goes_step_by_step_and_hands_over() {
    let (percents, end, ms) = run(&mut shift(), sight);
    assert_eq!((percents, end), (vec![5, 25, 50, 100], Order::HandOver));
    assert!((4000..4100).contains(&ms), "{ms}");
}

#[test]
fn hurries_when_failure_is_imminent_or_felt() {
    let (_, end, ms) = run(&mut shift(), |ms| Sight { imminent: true, ..sight(ms) });
    assert!(end == Order::HandOver && ms < 1100, "{ms}");
    let (_, end, ms) = run(&mut shift(), |ms| Sight { own: quality(0.1), ..sight(ms) });
    assert!(end == Order::HandOver && ms < 1100, "{ms}");
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
        let (percents, end, ms) = run(&mut shift(), see);
        assert!(matches!(end, Order::RollBack(_)), "{i}: {end:?}");
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
    assert_eq!(run(&mut shift(), see).1, Order::HandOver);
}

#[test]
fn silence_of_the_far_end_undoes_it_unless_our_own_path_is_the_reason() {
    let waiting = || BTreeSet::from(["b1".to_owned()]);
    let mut s = shift();
    s.applying(Nanos(0), 7, waiting());
    s.applied("b1", 6);
    assert_eq!(s.poll(&sight(500)), Order::Wait);
    assert_eq!(s.poll(&sight(1001)), Order::RollBack("no answer from b1".into()));
    let mut s = shift();
    s.applying(Nanos(0), 7, waiting());
    assert_eq!(s.poll(&Sight { own: quality(0.5), ..sight(1001) }), Order::HandOver);
    let mut s = shift();
    s.applying(Nanos(0), 7, waiting());
    s.applied("b1", 7);
    assert_eq!(s.poll(&sight(1)), Order::Wait);
    assert_eq!(s.status().phase, ShiftPhase::Verifying);
}
