//! Models come and go beside a running engine: chosen by a person, by a duel, or not at all.

use super::*;
use predictor::Metric;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("foreshift-learning-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn plan(&self) -> LearningPlan {
        LearningPlan {
            store: self.0.join("models"),
            history: Some(self.0.join("history")),
            history_bytes: 1_000_000,
            recordings: None,
            retrain: Duration::from_secs(3600),
            shadow: Duration::from_secs(2),
        }
    }

    /// A model's file of this name in the store.
    fn keep(&self, name: &str, bytes: &[u8]) {
        let folder = self.0.join("models").join(name);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(predictor::lifecycle::MODEL), bytes).expect("a file");
    }

    fn choose(&self, name: &str) {
        fs::write(self.0.join("models/champion"), name).expect("a file");
    }

    /// Stands for the training: says `line`.
    fn program(&self, line: &str) -> PathBuf {
        let path = self.0.join("program");
        fs::write(&path, format!("#!/bin/sh\necho '{line}'\n")).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn built_in() -> Vec<u8> {
    Model::default_model().and_then(|model| model.to_bytes()).expect("the built-in model")
}

/// The built-in model under another name of the same length, and more sanguine: its biases are lower by far.
fn sanguine(name: &str) -> Vec<u8> {
    let mut bytes = built_in();
    let own = Model::default_model().expect("the built-in model").description().name.clone();
    let name = format!("{name:x<width$}", width = own.len());
    let place = |bytes: &[u8], text: &str| bytes.windows(text.len()).position(|at| at == text.as_bytes());
    let at = place(&bytes, &own).expect("its name");
    bytes[at..at + own.len()].copy_from_slice(name.as_bytes());
    // JSON stands inside JSON: its quotes are escaped.
    let from = place(&bytes, "bias\\\":[").expect("its biases") + 8;
    let end = from + place(&bytes[from..], "]").expect("their end");
    let biases = std::str::from_utf8(&bytes[from..end]).expect("text").to_owned();
    let low = |bias: &str| match bias.len() {
        1 => "0".to_owned(),
        2 => "-9".to_owned(),
        3 => "-90".to_owned(),
        width => format!("-9.{}", "0".repeat(width - 3)),
    };
    let lower = biases.split(',').map(low).collect::<Vec<_>>().join(",");
    bytes[from..end].copy_from_slice(lower.as_bytes());
    bytes
}

fn sample(i: u64) -> TelemetrySample {
    let mut sample = TelemetrySample::new(1_000_000 + i * 100);
    sample.set(Metric::PathRttUs, 500.0 + (i % 7) as f32).set(Metric::LinkUp, 1.0);
    sample
}

/// A control loop that goes as fast as it can, until `done` or too long.
fn until(learning: &mut Learning, champion: &mut Predictor, done: impl Fn(&Predictor) -> bool) -> bool {
    let started = Instant::now();
    for i in 0.. {
        let sample = sample(i);
        let said = champion.push(&sample);
        learning.sample(&sample, None, &said, champion);
        if done(champion) || started.elapsed() > Duration::from_secs(20) {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    done(champion)
}

fn named(predictor: &Predictor) -> &str {
    &predictor.model().description().name
}

fn champion() -> Predictor {
    Predictor::new(Arc::new(Model::default_model().expect("the built-in model")))
}

fn start(folder: &Folder, plan: &LearningPlan, says: &str) -> (Learning, Option<Model>) {
    Learning::start(plan, "a1", folder.program(says)).expect("folders and a thread")
}

#[test]
fn a_model_that_a_person_chooses_is_taken_up_and_a_bad_one_is_not() {
    let folder = Folder::new("chosen");
    let (other, mut cut) = (sanguine("chosen"), built_in());
    cut.truncate(cut.len() / 2);
    folder.keep("cut", &cut);
    folder.choose("cut");
    let (mut learning, first) = start(&folder, &folder.plan(), "");
    assert!(first.is_none(), "a damaged champion is no reason not to start");
    let mut predictor = champion();
    let before = named(&predictor).to_owned();
    let started = Instant::now();
    until(&mut learning, &mut predictor, |_| started.elapsed() > Duration::from_secs(3));
    assert_eq!(named(&predictor), before, "the old one stays");
    folder.keep("good", &other);
    folder.choose("good");
    assert!(
        until(&mut learning, &mut predictor, |p| named(p).starts_with("chosen")),
        "{}",
        named(&predictor)
    );
    folder.choose("cut");
    let started = Instant::now();
    until(&mut learning, &mut predictor, |_| started.elapsed() > Duration::from_secs(3));
    folder.keep("cut", &built_in());
    assert!(until(&mut learning, &mut predictor, |p| named(p) == before), "what was mended is taken up");
    folder.choose("good");
    assert!(until(&mut learning, &mut predictor, |p| named(p).starts_with("chosen")));
    drop(learning);
    let (_learning, again) = start(&folder, &folder.plan(), "");
    assert!(
        again.is_some_and(|model| model.description().name.starts_with("chosen")),
        "it is the one after a restart"
    );
    let written = fs::read_dir(folder.0.join("history")).expect("a history").count();
    assert!(written >= 1, "what was lived through is kept");
}

#[test]
fn a_challenger_takes_over_only_if_it_wins_in_shadow() {
    let folder = Folder::new("shadow");
    let plan = LearningPlan { retrain: Duration::ZERO, ..folder.plan() };
    let better = sanguine("winner");
    let name = Model::from_bytes(&better).expect("a model").description().name.clone();
    folder.keep(&name, &better);
    let (mut learning, _) = start(&folder, &plan, &format!("{{\"challenger\":\"{name}\"}}"));
    let mut predictor = champion();
    assert!(until(&mut learning, &mut predictor, |p| named(p) == name), "{}", named(&predictor));
    drop(learning);
    let kept = fs::read_to_string(folder.0.join("models/champion")).expect("a champion");
    assert_eq!(kept.trim(), name);
}

#[test]
fn nothing_is_trained_while_a_challenger_runs_in_shadow() {
    let folder = Folder::new("patience");
    let plan = LearningPlan { retrain: Duration::ZERO, shadow: Duration::from_secs(3600), ..folder.plan() };
    let better = sanguine("patient");
    let name = Model::from_bytes(&better).expect("a model").description().name.clone();
    folder.keep(&name, &better);
    let said = folder.0.join("trainings");
    let (mut learning, _) =
        start(&folder, &plan, &format!("{{\"challenger\":\"{name}\"}}' | tee -a '{}", said.display()));
    let trainings = || fs::read_to_string(&said).map_or(0, |lines| lines.lines().count());
    let mut predictor = champion();
    let for_some_time = |learning: &mut Learning, predictor: &mut Predictor| {
        let started = Instant::now();
        until(learning, predictor, |_| started.elapsed() > Duration::from_secs(4));
    };
    for_some_time(&mut learning, &mut predictor);
    assert_eq!(trainings(), 1, "its duel goes on");
    // A person chooses another model: that duel is over.
    folder.keep("chosen", &sanguine("chosen"));
    folder.choose("chosen");
    for_some_time(&mut learning, &mut predictor);
    assert!(named(&predictor).starts_with("chosen"));
    assert_eq!(trainings(), 2, "and the next one has begun");
}

#[test]
fn a_training_that_fails_or_lies_changes_nothing() {
    for says in [
        "{\"kept\":\"too little\"}",
        "{\"challenger\":\"nobody\"}",
        "{\"challenger\":\"../x\"}",
        "Segmentation fault",
        "",
    ] {
        let folder = Folder::new("lies");
        let plan = LearningPlan { retrain: Duration::ZERO, ..folder.plan() };
        let (mut learning, _) = start(&folder, &plan, says);
        let mut predictor = champion();
        let before = named(&predictor).to_owned();
        let started = Instant::now();
        until(&mut learning, &mut predictor, |_| started.elapsed() > Duration::from_secs(3));
        assert_eq!(named(&predictor), before, "{says}");
        assert!(!Path::new(&folder.0.join("models/champion")).exists());
    }
}
