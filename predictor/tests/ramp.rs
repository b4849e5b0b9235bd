//! Ramps of made-up clusters: unseen kinds of fault, odd telemetry, and only the past.

#[path = "ramps/mod.rs"]
mod ramps;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use predictor::ramp::{Crash, Events, Options, Outcome, RampError, RampModel, Telemetry, judge, train};
use ramps::{Draw, Made, Plan, make};

const TRAINED: [&str; 4] = ["heap-leak", "cpu-theft", "link-loss", "disk-fill"];
const UNSEEN: [&str; 3] = ["fd-leak", "slow-consumer", "link-delay"];

fn small(seed: u64, runs: usize, kinds: &[&'static str]) -> Plan {
    Plan { nodes: (5, 8), minutes: (260, 400), per_category: (1, 2), ..Plan::new(seed, runs, kinds) }
}

fn fit(made: &Made, options: &Options) -> Result<RampModel, RampError> {
    train(&made.telemetry(), &made.events(), options, |_| ())
}

/// One model for all tests: training is what takes time.
fn model() -> &'static RampModel {
    static MODEL: OnceLock<RampModel> = OnceLock::new();
    MODEL.get_or_init(|| {
        fit(&make(&small(1, 24, &TRAINED)), &Options { seed: 1, calm_rows: 12_000 }).expect("it learns")
    })
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// p of every row, by run, node and minute.
fn predictions(telemetry: &Telemetry) -> std::collections::BTreeMap<(String, String, i64), f32> {
    let of = |run: &predictor::ramp::Run| {
        let said = model().predict(telemetry, run);
        let named = said
            .into_iter()
            .map(|said| ((run.name.clone(), run.nodes[said.node].clone(), said.minute), said.p));
        named.collect::<Vec<_>>()
    };
    telemetry.runs().iter().flat_map(of).collect()
}

#[test]
fn crashes_of_unseen_kinds_are_foreseen() {
    for (what, plan) in [
        ("other kinds", small(2, 16, &UNSEEN)),
        ("other kinds and metrics", Plan { metric_set: 9, per_category: (1, 4), ..small(3, 16, &UNSEEN) }),
    ] {
        let made = make(&plan);
        let (telemetry, events) = (made.telemetry(), made.events());
        let mut outcomes = Vec::new();
        for run in telemetry.runs() {
            let said = model().predict(&telemetry, run);
            let known = said.iter().zip(events.labels(run));
            outcomes.extend(
                known.filter_map(|(said, crashed)| {
                    Some(Outcome { p: said.p, crashed: crashed?, weight: 1.0 })
                }),
            );
        }
        let figures = judge(&outcomes);
        // A guess has the base rate, about 0.01.
        assert!(figures.auc_pr > 0.2 && figures.ece < 0.02, "{what}: {figures:?}");
    }
}

/// The nodes that crash are back at once, and silent, until the run ends.
fn back_again(mut made: Made) -> Made {
    for (run, _, crash) in made.events.clone() {
        let Some(end) = crash.minute else { continue };
        for (node, minute) in
            crash.nodes.iter().flat_map(|node| (1..=14).map(move |after| (node, end + after)))
        {
            made.keys.push((run.clone(), node.clone(), minute));
            made.columns.iter_mut().for_each(|column| column.push(0.0));
        }
    }
    made
}

#[test]
fn a_node_that_is_up_again_is_not_said_to_crash() {
    let learnt = back_again(make(&small(1, 24, &TRAINED)));
    let model = fit(&learnt, &Options { seed: 1, calm_rows: 6_000 }).expect("it learns");
    let made = back_again(make(&small(2, 10, &UNSEEN)));
    let (telemetry, events) = (made.telemetry(), made.events());
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    for run in telemetry.runs() {
        for (said, crashed) in model.predict(&telemetry, run).iter().zip(events.labels(run)) {
            match crashed {
                Some(true) => before.push(said.p),
                Some(false) => {}
                None => behind.push(said.p),
            }
        }
    }
    let mean = |of: &[f32]| of.iter().sum::<f32>() / of.len() as f32;
    assert!(behind.len() > 50 && mean(&behind) < 0.5 * mean(&before), "{} {}", mean(&behind), mean(&before));
}

#[test]
fn only_the_past_is_used() {
    let made = make(&small(5, 2, &UNSEEN));
    let all = predictions(&made.telemetry());
    for last in [0, 1, 40, 200] {
        let kept: Vec<usize> = (0..made.keys.len()).filter(|row| made.keys[*row].2 <= last).collect();
        for (key, p) in predictions(&picked(&made, &kept)) {
            assert_eq!(p, all[&key], "{key:?} of the first {last} minutes");
        }
    }
}

/// Some rows of a table, in this order.
fn picked(made: &Made, rows: &[usize]) -> Telemetry {
    let columns = made.columns.iter().map(|column| rows.iter().map(|row| column[*row]).collect()).collect();
    let keys: Vec<_> = rows.iter().map(|row| made.keys[*row].clone()).collect();
    Telemetry::new(Path::new("picked"), made.metrics.clone(), columns, &keys)
}

#[test]
fn rows_may_come_in_any_order_and_twice() {
    let made = make(&small(6, 2, &UNSEEN));
    let mut draw = Draw::new(4);
    let mut rows: Vec<usize> = (0..made.keys.len()).collect();
    for i in (1..rows.len()).rev() {
        rows.swap(i, draw.below(i + 1));
    }
    // A row that a later one of the same minute replaces changes nothing.
    let twice: Vec<usize> = (0..100).map(|i| rows[i * 7]).collect();
    let columns: Vec<Vec<f32>> = made
        .columns
        .iter()
        .map(|column| twice.iter().map(|_| 1e6).chain(rows.iter().map(|row| column[*row])).collect())
        .collect();
    let keys: Vec<_> = twice.iter().chain(&rows).map(|row| made.keys[*row].clone()).collect();
    let shuffled = Telemetry::new(Path::new("shuffled"), made.metrics.clone(), columns, &keys);
    let (plain, odd) = (predictions(&made.telemetry()), predictions(&shuffled));
    assert_eq!(plain.len(), odd.len());
    // The metrics' medians and sums depend on the order of the nodes by rounding only.
    let far = plain.iter().filter(|(key, p)| (*p - odd[key]).abs() > 0.02).count();
    assert!(far * 100 < plain.len(), "{far} of {}", plain.len());
}

#[test]
fn any_cluster_gets_probabilities() {
    for (nodes, minutes, per_category, missing) in [
        ((1, 1), (30, 40), (1, 1), 0.0),
        ((1, 1), (400, 400), (1, 2), 0.3),
        ((2, 2), (300, 300), (1, 1), 0.01),
        ((50, 50), (60, 60), (1, 1), 0.0),
        ((3, 3), (40, 60), (28, 32), 0.0),
        ((4, 4), (35, 35), (1, 1), 1.0),
    ] {
        let made = make(&Plan { nodes, minutes, per_category, missing, ..Plan::new(3, 2, &["fd-leak"]) });
        let said = predictions(&made.telemetry());
        assert_eq!(said.len(), made.keys.len());
        assert!(said.values().all(|p| (0.0..=1.0).contains(p)));
        if missing == 1.0 {
            assert!(said.values().all(|p| *p < 0.05), "no value, no alarm");
        }
    }
}

#[test]
fn gaps_a_stuck_metric_and_a_clock_jump_raise_no_alarm() {
    let made = make(&Plan { kinds: vec!["abrupt"], minutes: (400, 400), ..small(8, 1, &["abrupt"]) });
    let calm = predictions(&made.telemetry()).into_values().fold(0.0, f32::max);
    let mut odd = make(&Plan { kinds: vec!["abrupt"], minutes: (400, 400), ..small(8, 1, &["abrupt"]) });
    for (row, key) in odd.keys.iter_mut().enumerate() {
        // The clock jumps ten hours; one node's metric freezes; another's turns to NaN.
        if key.2 >= 300 {
            key.2 += 600;
        }
        if key.1 == "node01" && key.2 > 150 {
            odd.columns[0][row] = 42.0_f32.min(odd.columns[0][0]);
        }
        if key.1 == "node02" && key.2 > 150 {
            odd.columns[3][row] = f32::NAN;
        }
    }
    let kept: Vec<usize> =
        (0..odd.keys.len()).filter(|row| !(200..230).contains(&odd.keys[*row].2)).collect();
    let most = predictions(&picked(&odd, &kept)).into_values().fold(0.0, f32::max);
    assert!(most < 0.5, "{most} where the calm had {calm}");
}

#[test]
fn the_same_seed_trains_the_same_model_and_its_file_is_safe() {
    let made = make(&small(11, 8, &TRAINED));
    let options = Options { seed: 3, calm_rows: 2000 };
    let model = fit(&made, &options).unwrap();
    assert_eq!(model, fit(&made, &options).unwrap());
    let path = folder("ramp-model").join("ramp.model");
    model.save(&path).unwrap();
    assert_eq!(RampModel::load(&path).unwrap(), model);
    let good = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8], says: &str| {
        let damaged = path.with_extension("damaged");
        std::fs::write(&damaged, bytes).unwrap();
        let error = RampModel::load(&damaged).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    refused(b"", "not a ramp model");
    refused(b"{}\n", "not a ramp model");
    refused(&good[..good.len() / 2], "damaged");
    let mut flipped = good.clone();
    flipped[good.len() / 3] ^= 1;
    refused(&flipped, "damaged");
    let text = String::from_utf8(good).unwrap().replacen("foreshift-ramp 1", "foreshift-ramp 99", 1);
    refused(text.as_bytes(), "version 99");
    assert!(matches!(RampModel::load(Path::new("/nowhere/ramp.model")), Err(RampError::Io { .. })));
}

#[test]
fn data_that_cannot_teach_are_refused() {
    let made = make(&small(12, 3, &TRAINED));
    let telemetry = made.telemetry();
    let error =
        |events: &Events| train(&telemetry, events, &Options::default(), |_| ()).unwrap_err().to_string();
    assert!(error(&Events::default()).contains("no node crashes"));
    let mut strange = Events::default();
    strange.push(
        "run000".into(),
        Crash { fault: "x".into(), minute: Some(100), nodes: vec!["elsewhere".into()] },
    );
    // A crash of a node without telemetry is said and left out.
    let mut said = Vec::new();
    assert!(train(&telemetry, &strange, &Options::default(), |line| said.push(line.to_owned())).is_err());
    assert!(said.iter().any(|line| line.contains("run000/elsewhere")), "{said:?}");
}

#[test]
fn events_are_read_liberally() {
    let path = folder("ramp-events").join("ramp_events.csv");
    std::fs::write(
        &path,
        "run,fault,inject_minute,crash_minute,node_a,node_b,note\n\
         a,leak,10,60.0,n1,,x\n\
         b,link,10,70,n1,n2,\n\
         c,leak,10,,n1,NaN,\n\
         d,leak,10,-1,n2,-1,\n\
         e,,,,,,\n",
    )
    .unwrap();
    let events = Events::read(&path).unwrap();
    let crash = |run: &str| events.of(run)[0].clone();
    assert_eq!(crash("a"), Crash { fault: "leak".into(), minute: Some(60), nodes: vec!["n1".into()] });
    assert_eq!(crash("b").nodes, ["n1", "n2"]);
    assert_eq!((crash("c").minute, crash("d").minute), (None, None));
    assert_eq!((events.fault("e"), events.fault("f")), (None, None));
    let keys: Vec<_> =
        (0..100).flat_map(|minute| ["n1", "n2"].map(|n| ("a".to_owned(), n.to_owned(), minute))).collect();
    let telemetry = Telemetry::new(Path::new("t"), vec!["m".into()], vec![vec![0.0; 200]], &keys);
    let run = &telemetry.runs()[0];
    for (sample, label) in run.samples.iter().zip(events.labels(run)) {
        let expected = match (sample.node, sample.minute) {
            (0, 61..) => None,
            (0, 30..) => Some(true),
            _ => Some(false),
        };
        assert_eq!(label, expected, "{sample:?}");
    }
    std::fs::write(&path, "run,crash_minute,node_a\na,soon,n1\n").unwrap();
    let error = Events::read(&path).unwrap_err().to_string();
    assert!(error.contains("crash_minute") && error.contains("soon"), "{error}");
}

#[test]
fn an_explanation_names_the_metric_that_ramps() {
    let made = make(&Plan { metric_set: 1, ..small(21, 12, &["fd-leak"]) });
    let (telemetry, events) = (made.telemetry(), made.events());
    let mut named = 0;
    let mut asked = 0;
    for run in telemetry.runs() {
        for crash in events.of(&run.name) {
            let Some(minute) = crash.minute else { continue };
            let Some(said) = model().explain(&telemetry, run, &crash.nodes[0], minute - 2) else { continue };
            let sum: f32 = said.drivers.iter().map(|driver| driver.contribution).sum();
            assert!(
                sum.is_finite() && said.drivers[0].contribution.abs() >= said.drivers[1].contribution.abs()
            );
            asked += 1;
            named += usize::from(said.metrics.iter().any(|(metric, _)| metric.starts_with("files")));
        }
    }
    assert!(asked >= 4 && named * 3 >= asked * 2, "{named} of {asked}");
}
