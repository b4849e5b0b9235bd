//! The models that an engine keeps: `models`, `rollback`, `retrain`.

use crate::cli::table::Table;
use crate::config::Config;
use crate::runtime::learning::Trained;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use predictor::Model;
use predictor::lifecycle::{self, Outcome, Store};
use predictor::recording;
use predictor::train::Options;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Parts of the history that a training reads at most: two hours.
const PARTS: usize = 60;

/// Where the models are.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct StoreFolder {
    /// The folder of models
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Or the engine's configuration, which names it
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl StoreFolder {
    fn open(&self) -> Result<Store> {
        let folder = match (&self.store, &self.config) {
            (Some(folder), _) => folder.clone(),
            (None, Some(config)) => {
                let learning = Config::load(config)?.prediction.learning;
                learning.context("the configuration has no [prediction.learning]: nothing is kept")?.store
            }
            (None, None) => bail!("name the folder with --store, or the engine's configuration with -c"),
        };
        Ok(Store::open(&folder)?)
    }
}

/// Prints every model with its figures.
pub fn list(store: &StoreFolder) -> Result<()> {
    let mut table = Table::new(&["", "model", "runs", "AUC-PR", "alarm from", "note"]);
    for kept in store.open()?.models()? {
        let figures = kept.card.as_ref().and_then(|card| card.figures.first()).map(|(_, figures)| figures);
        let of_card = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        table.row([
            if kept.champion { "*".into() } else { String::new() },
            kept.name,
            of_card(kept.card.as_ref().map(|card| card.split.train.len().to_string())),
            of_card(figures.map(|figures| format!("{:.3}", figures.auc_pr))),
            of_card(kept.card.as_ref().map(|card| format!("{:.3}", card.made.alarm_from))),
            kept.problem.or(kept.card.map(|card| card.note)).unwrap_or_default(),
        ]);
    }
    print!("{}", table.render("no models are kept"));
    Ok(())
}

/// Makes a kept model the one in use.
pub fn rollback(name: &str, store: &StoreFolder) -> Result<()> {
    let store = store.open()?;
    let before = store.champion()?.unwrap_or_else(|| "the built-in model".into());
    store.promote(name)?;
    println!("{name} instead of {before}; a running engine takes it up within two seconds");
    Ok(())
}

/// Trains a challenger; the last line says in JSON what came of it.
pub fn retrain(store: &StoreFolder, history: &Path, recordings: Option<&Path>) -> Result<()> {
    // If memory is short, this goes and not the engine. Where that cannot be said, it is only a wish.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let store = store.open()?;
    let champion = match store.champion()? {
        Some(name) => store.load(&name)?,
        None => Model::default_model()?,
    };
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let options = Options {
        name: format!("own-{seconds}"),
        note: format!("the engine's own history, beside {}", champion.description().name),
        seed: seconds,
        ..Options::default()
    };
    let recordings = recordings.map(recording::read).transpose()?.unwrap_or_default();
    let history = lifecycle::read(history, PARTS)?;
    let outcome = lifecycle::retrain(recordings, history, &champion, &options, &mut |_| {})?;
    let said = match outcome {
        Outcome::Better(trained) => {
            store.add(&trained)?;
            Trained::Challenger(options.name)
        }
        Outcome::Kept(why) => Trained::Kept(why),
    };
    println!("{}", serde_json::to_string(&said)?);
    Ok(())
}
