//! Stories told from decisions.

use super::*;
use crate::api::tests::status;
use dataplane::id::Nanos;

fn decision(
    id: u64,
    at_ms: u64,
    action: &str,
    rule: &str,
    outcome: Outcome,
    inputs: &[(&str, &str)],
) -> Decision {
    let inputs = inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (action, rule) = (action.to_owned(), rule.to_owned());
    Decision { id, at: Nanos::from_millis(at_ms), action, rule, inputs, outcome }
}

const ALARM: &str = "probability x SLA weight >= threshold for 3 samples";

#[test]
fn a_predicted_shift_is_told_with_what_drove_it_and_what_came_of_it() {
    let inputs = [
        ("probability", "0.910"),
        ("driver path_loss_tx", "0.400"),
        ("driver path_rtt_us", "0.300"),
        ("driver busy_share", "0.500"),
    ];
    let decisions = [
        decision(1, 1000, "own site a", "nobody else owns it", Outcome::Done, &[]),
        decision(2, 20_000, "shift a1 -> a2", ALARM, Outcome::Done, &inputs),
        decision(3, 24_500, "shift a1 -> a2 complete", "target owns the site", Outcome::Done, &[]),
        decision(4, 200_000, "own site a", "handed over by a2", Outcome::Done, &[]),
    ];
    let told = explained(&decisions, 1, &status());
    for part in
        ["decision 2", "0.910", "path_loss_tx 0.400", "the path to the far site", "+4.5 s #3", "another way"]
    {
        assert!(told.contains(part), "{part}:\n{told}");
    }
    assert!(!told.contains("#4"), "minutes later is another story:\n{told}");
}

#[test]
fn what_was_foretold_is_told_apart_from_what_was_not() {
    let takeover = |at| decision(9, at, "takeover a1 -> a2", "lease of a1 expired", Outcome::Done, &[]);
    let alarm = decision(8, 50_000, "hold", ALARM, Outcome::Observed, &[]);
    let sudden = explained(&[takeover(60_000)], 0, &status());
    assert!(sudden.contains("sudden death") && sudden.contains("telemetry.record"), "{sudden}");
    let foretold = explained(&[alarm.clone(), takeover(60_000)], 1, &status());
    assert!(foretold.contains("foretold") && foretold.contains("prediction.threshold"), "{foretold}");
    let long_after = explained(&[alarm, takeover(500_000)], 1, &status());
    assert!(long_after.contains("sudden death"), "{long_after}");
}

#[test]
fn every_metric_that_can_drive_the_model_is_known_by_its_name() {
    let with = |name: &str| {
        let input = [(format!("{}{name}", cause::DRIVER), "1.0".to_owned())];
        let inputs: Vec<(&str, &str)> = input.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        Cause::of(&decision(1, 0, "shift a1 -> a2", ALARM, Outcome::Done, &inputs), None)
    };
    assert_eq!(with("memory_used"), Cause::Memory);
    assert_eq!(with("cpu_throttled"), Cause::Cpu);
    assert_eq!(with("mempool_used"), Cause::Buffers);
    assert_eq!(with("port_missed_ps"), Cause::Port);
    assert_eq!(with("rx_pps"), Cause::Unknown, "load is no fault");
    assert_eq!(with("nonsense"), Cause::Unknown);
}
