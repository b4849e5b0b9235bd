//! The learning thread: files, the training process, and the store of models.

use super::{News, Note};
use crate::plan::LearningPlan;
use predictor::Model;
use predictor::lifecycle::{History, HistoryError, Store};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

/// Between two looks at the store and the training.
const LOOK: Duration = Duration::from_secs(1);
/// CPUs that are there, as `taskset` takes them.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// The last line of `foreshift predict retrain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trained {
    /// A challenger of this name is in the store.
    Challenger(String),
    /// The champion stays; why.
    Kept(String),
}

/// What the thread knows.
pub struct Keeper {
    plan: LearningPlan,
    program: PathBuf,
    store: Store,
    history: Option<History>,
    tell: SyncSender<News>,
    /// The name that the engine runs, as far as the store knows.
    champion: Option<String>,
    /// A name in the store that was refused: said once.
    refused: Option<String>,
    training: Option<Child>,
    /// A challenger runs in shadow: until the duel is over nothing is trained, for a newer one would take its place half-way.
    in_shadow: bool,
    train_at: Instant,
}

impl Keeper {
    /// Opens the folders; a champion that cannot be used is said and left.
    pub fn open(
        plan: &LearningPlan,
        engine: &str,
        program: PathBuf,
        tell: SyncSender<News>,
    ) -> anyhow::Result<(Keeper, Option<Model>)> {
        let store = Store::open(&plan.store)?;
        let history = plan.history.as_deref().map(|folder| History::open(folder, engine, plan.history_bytes));
        let train_at = Instant::now() + plan.retrain;
        let mut keeper = Keeper {
            plan: plan.clone(),
            program,
            store,
            history: history.transpose()?,
            tell,
            champion: None,
            refused: None,
            training: None,
            in_shadow: false,
            train_at,
        };
        let champion = keeper.chosen();
        Ok((keeper, champion))
    }

    /// Until the engine ends.
    pub fn run(&mut self, notes: &Receiver<Note>) {
        let mut looked = Instant::now();
        loop {
            match notes.recv_timeout(LOOK) {
                Ok(note) => self.note(note),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.look();
            }
        }
        self.keep(History::end);
        if let Some(mut training) = self.training.take() {
            let _ = training.kill();
            let _ = training.wait();
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Sample(sample) => self.keep(|history| history.sample(&sample.0, sample.1.as_ref())),
            Note::Failed(at_ms, kind) => self.keep(|history| history.failed(at_ms, kind)),
            Note::Recovered => self.keep(|history| {
                history.recovered();
                Ok(())
            }),
            Note::Over(winner) => {
                self.in_shadow = false;
                let Some(name) = winner else { return };
                match self.store.promote(&name) {
                    Ok(_) => self.champion = Some(name),
                    Err(error) => {
                        tracing::error!(%error, "the new champion is not kept: it is gone with a restart")
                    }
                }
            }
        }
    }

    /// A history that cannot be written is given up: the engine goes on.
    fn keep(&mut self, write: impl FnOnce(&mut History) -> Result<(), HistoryError>) {
        if let Some(history) = &mut self.history
            && let Err(error) = write(history)
        {
            tracing::error!(%error, "the history is no longer written");
            self.history = None;
        }
    }

    fn look(&mut self) {
        if let Some(model) = self.chosen()
            && !self.send(News::Champion(model))
        {
            self.champion = None; // it is tried again
        }
        if let Some(training) = &mut self.training {
            match training.try_wait() {
                Ok(None) => return,
                ended => tracing::debug!(?ended, "training has ended"),
            }
            self.trained();
        }
        if self.history.is_some() && !self.in_shadow && Instant::now() >= self.train_at {
            self.train_at = Instant::now() + self.plan.retrain;
            self.train();
        }
    }

    /// The store's champion, if it is another than the one in use and can be used. One that was refused is tried again, for it may
    /// have been mended; that it is refused is said once.
    fn chosen(&mut self) -> Option<Model> {
        let name = match self.store.champion() {
            Ok(name) => name.filter(|name| Some(name) != self.champion.as_ref())?,
            Err(error) => {
                tracing::debug!(%error, "the store's champion is not known");
                return None;
            }
        };
        match self.store.load(&name) {
            Ok(model) => {
                self.champion = Some(name);
                self.refused = None;
                Some(model)
            }
            Err(error) => {
                if self.refused.as_ref() != Some(&name) {
                    tracing::error!(%error, "the model in use stays");
                }
                self.refused = Some(name);
                None
            }
        }
    }

    /// Starts the training: a process of its own, so that neither its memory nor a mistake in it is the engine's; it gets the CPU
    /// only when nobody else wants it, and any CPU, not only the control loop's.
    fn train(&mut self) {
        let Some(history) = &self.plan.history else { return };
        let cpus = std::fs::read_to_string(ONLINE).unwrap_or_default();
        let mut command = Command::new("chrt");
        command.args(["--idle", "0", "taskset", "--cpu-list"]).arg(cpus.trim()).arg(&self.program);
        command.args(["predict", "retrain", "--store"]).arg(&self.plan.store).arg("--history").arg(history);
        if let Some(recordings) = &self.plan.recordings {
            command.arg("--recordings").arg(recordings);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        match command.spawn() {
            Ok(training) => {
                tracing::info!(pid = training.id(), "a challenger is trained");
                self.training = Some(training);
            }
            Err(error) => {
                tracing::error!(%error, "no challenger is trained: is util-linux (chrt, taskset) installed?")
            }
        }
    }

    /// What came of the training that has ended.
    fn trained(&mut self) {
        let Some(training) = self.training.take() else { return };
        let Ok(output) = training.wait_with_output() else { return };
        let said = String::from_utf8_lossy(&output.stdout);
        match said.lines().last().map(serde_json::from_str) {
            Some(Ok(Trained::Challenger(name))) => match self.store.load(&name) {
                Ok(model) => self.in_shadow = self.send(News::Challenger(model)),
                Err(error) => tracing::error!(%error, "the challenger is refused"),
            },
            Some(Ok(Trained::Kept(why))) => tracing::info!(why, "no challenger"),
            _ => tracing::error!(status = %output.status, "training failed"),
        }
    }

    /// Whether the news was taken: the control loop looks ten times a second, two that wait are enough.
    fn send(&self, news: News) -> bool {
        let taken = self.tell.try_send(news).is_ok();
        if !taken {
            tracing::warn!("the control loop takes no news of models");
        }
        taken
    }
}
