//! A model's life: kept, chosen, refused, taken back; a history that is written, bounded, read and learnt from.

use std::path::{Path, PathBuf};

use predictor::lifecycle::{History, MODEL, Outcome, Store, StoreError, read, retrain};
use predictor::recording::{EventKind, Run, RunKind};
use predictor::train::{Alarm, Label, Meaning, Options, Scores, Series, Trained, judge, train};
use predictor::{Metric, Model, N_METRICS, TelemetrySample};

mod synthetic;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("foreshift-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn options(name: &str) -> Options {
    Options { name: name.into(), epochs: 1, hidden: 4, ..Options::default() }
}

fn trained(name: &str) -> Trained {
    train(&synthetic::runs(5, 4), &options(name), &mut |_| {}).unwrap()
}

#[test]
fn models_are_kept_by_name_and_a_bad_one_never_becomes_champion() {
    let folder = Folder::new("store");
    let store = Store::open(&folder.0.join("models")).unwrap();
    assert_eq!(store.champion().unwrap(), None);
    let one = trained("one");
    store.add(&one).unwrap();
    store.promote("one").unwrap();
    let two = trained("two");
    store.add(&two).unwrap();
    store.promote("two").unwrap();
    assert_eq!(store.load("two").unwrap().to_bytes().unwrap(), two.model.to_bytes().unwrap());

    // Back by name; then cut short, of another shape, not a number.
    store.promote("one").unwrap();
    let file = folder.0.join("models/two").join(MODEL);
    let good = std::fs::read(&file).unwrap();
    let mut nan = good.clone();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let other_shape = String::from_utf8_lossy(&good[..200]).into_owned().into_bytes();
    for bad in [good[..end - 40].to_vec(), nan, other_shape, Vec::new()] {
        std::fs::write(&file, bad).unwrap();
        let refused = store.promote("two").unwrap_err();
        assert!(matches!(&refused, StoreError::Refused { name, .. } if name == "two"), "{refused}");
        assert_eq!(store.champion().unwrap().as_deref(), Some("one"), "the old one stays");
    }
    let models = store.models().unwrap();
    let told: Vec<_> = models.iter().map(|m| (m.name.as_str(), m.champion, m.problem.is_some())).collect();
    assert_eq!(told, [("one", true, false), ("two", false, true)]);
    assert!(models[0].card.as_ref().is_some_and(|card| card.made.name == "one"), "every model has its card");

    let unknown = store.promote("three").unwrap_err().to_string();
    assert!(unknown.contains("three") && unknown.contains("one, two"), "{unknown}");
    for name in ["", "../one", ".hidden", "a/b", "ä"] {
        assert!(matches!(store.promote(name), Err(StoreError::Name(_))), "{name}");
    }
}

fn sample(at_ms: u64) -> TelemetrySample {
    let mut sample = TelemetrySample::new(at_ms);
    sample.set(Metric::PathRttUs, 500.0 + (at_ms / 100 % 7) as f32);
    sample
}

fn write(history: &mut History, from_ms: u64, samples: u64) {
    (0..samples).for_each(|i| history.sample(&sample(from_ms + i * 100), Some(&[0.5; N_METRICS])).unwrap());
}

#[test]
fn the_history_tells_failures_and_deaths_and_joins_what_belongs_together() {
    let folder = Folder::new("history");
    let mut history = History::open(&folder.0, "a1", 10_000_000).unwrap();
    write(&mut history, 1_000_000, 1500);
    history.failed(1_150_000, EventKind::Breach).unwrap();
    write(&mut history, 1_150_100, 50);
    history.recovered();
    write(&mut history, 1_160_000, 300);
    drop(history); // killed: no end
    let mut history = History::open(&folder.0, "a1", 10_000_000).unwrap();
    write(&mut history, 2_000_000, 20);
    history.end().unwrap();

    let runs = read(&folder.0, 100).unwrap();
    let told: Vec<_> =
        runs.iter().map(|r| (r.samples[0].at_ms, r.header.kind, r.failure_ms(), r.death_ms())).collect();
    let expected = [
        (1_000_000, RunKind::Calm, None, None),
        (1_090_000, RunKind::Ramp, Some(1_150_000), None),
        (1_160_000, RunKind::Ramp, Some(1_190_000), Some(1_190_000)),
        (2_000_000, RunKind::Calm, None, None),
    ];
    assert_eq!(
        told, expected,
        "the second part begins with the end of the first; nothing of the bad time is kept"
    );
    assert_eq!(runs[1].samples.len(), 300 + 300);
    assert_eq!(runs[1].heard.len(), runs[1].samples.len());
    let few: Vec<_> = read(&folder.0, 2).unwrap().iter().map(|r| r.header.kind).collect();
    assert_eq!(few, [RunKind::Ramp; 2], "failures are worth more than calm");
}

#[test]
fn the_history_stays_within_its_bytes_and_drops_calm_first() {
    let folder = Folder::new("bounds");
    let mut history = History::open(&folder.0, "a1", 600_000).unwrap();
    write(&mut history, 1000, 1200);
    history.failed(121_000, EventKind::HardFailure).unwrap();
    history.recovered();
    write(&mut history, 200_000, 12_000);
    history.end().unwrap();
    let entries = || std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap());
    let bytes: u64 = entries().map(|entry| entry.metadata().unwrap().len()).sum();
    assert!((200_000..=600_000).contains(&bytes), "{bytes}");
    let failed = |entry: &std::fs::DirEntry| entry.path().to_string_lossy().ends_with("1000.failed.jsonl");
    assert!(entries().any(|entry| failed(&entry)), "the failure is still there");
}

/// Runs as if they were the engine's own.
fn own(seed: u64) -> Vec<Run> {
    let mut runs = synthetic::runs(seed, 4);
    runs.iter_mut().for_each(|run| run.header.run = format!("own-{}", run.header.run));
    runs
}

/// Nobody notes in an engine's own history when a fault began.
#[test]
fn who_foresees_a_failure_of_the_own_history_gives_no_false_alarm() {
    const HORIZON_MS: u64 = 10_000;
    let mut run = synthetic::run(9, RunKind::Ramp, "loss", 0);
    run.events.retain(|event| event.event != EventKind::Inject);
    let series = [Series::new(&run, HORIZON_MS)];
    let judged = |alarming: &dyn Fn(Label) -> bool| {
        let scores: Scores = series[0].labels.iter().map(|label| f32::from(alarming(*label))).collect();
        let scores = [scores];
        let figures =
            judge(&series, &scores, Alarm { scores: &scores, threshold: 0.5 }, Meaning::Probability);
        (figures.foreseen, figures.false_alarms)
    };
    assert_eq!(judged(&|label| label == Label::Failing), ((1, 1), 0), "within the horizon it is right");
    assert_eq!(judged(&|label| label == Label::Healthy), ((1, 0), 1), "earlier it is not");
    assert_eq!(judged(&|_| false), ((1, 0), 0));
}

#[test]
fn a_challenger_must_beat_the_champion_on_recent_history() {
    let lab = synthetic::runs(5, 4);
    // A champion that knows these runs well is not replaced by a hasty challenger…
    let good = train(&lab, &Options { epochs: 6, ..options("good") }, &mut |_| {}).unwrap().model;
    let hasty = retrain(Vec::new(), own(6), &good, &options("hasty"), &mut |_| {}).unwrap();
    // …and one from another world is.
    let stranger = Model::default_model().unwrap();
    let fresh = Options { epochs: 6, ..options("fresh") };
    let better = retrain(lab.clone(), own(6), &stranger, &fresh, &mut |_| {}).unwrap();
    let (Outcome::Kept(why), Outcome::Better(new)) = (&hasty, &better) else {
        panic!("{hasty:?}\n{better:?}")
    };
    assert!(why.contains("the champion"), "{why}");
    assert_eq!(new.model.description().name, "fresh");
    // An engine that never failed, and has nothing else, learns nothing.
    let calm: Vec<Run> = own(6).into_iter().filter(|run| run.header.kind == RunKind::Calm).collect();
    let nothing = retrain(Vec::new(), calm, &stranger, &options("calm"), &mut |_| {}).unwrap();
    assert!(matches!(&nothing, Outcome::Kept(why) if why.contains("0 failing")), "{nothing:?}");
    assert!(read(Path::new("no/such/folder"), 9).is_err());
}
