//! Learning from what the engine lives through, beside its work: a thread of its own writes the history, has challengers trained by a
//! process of its own at idle priority, and watches which model a person wants. The control loop only runs the challenger in shadow.

mod keeper;
#[cfg(test)]
mod tests;

use crate::plan::LearningPlan;
use keeper::Keeper;
pub use keeper::Trained;
use predictor::lifecycle::{Duel, Rival, Seen, SloWatch};
use predictor::recording::EventKind;
use predictor::{Model, Prediction, Predictor, Quality, TelemetrySample, Vitals};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

/// Notes that may wait for a thread that is held up by the disk: twelve seconds of samples. More are not kept.
const WAITING: usize = 128;

/// What the keeper is told.
#[derive(Debug)]
enum Note {
    Sample(Box<(TelemetrySample, Option<Vitals>)>),
    Failed(u64, EventKind),
    Recovered,
    /// The duel is over; the challenger's name if it has won.
    Over(Option<String>),
}

/// What the keeper tells.
#[derive(Debug)]
enum News {
    /// A person, or a duel, has chosen another model.
    Champion(Model),
    /// A challenger that may run in shadow.
    Challenger(Model),
}

/// The control loop's side.
#[derive(Debug)]
pub struct Learning {
    notes: Option<SyncSender<Note>>,
    news: Receiver<News>,
    keeper: Option<JoinHandle<()>>,
    slo: SloWatch,
    shadow: Option<Shadow>,
    shadow_ms: u64,
    /// How a duel ended, until the keeper takes it: unlike an interval it must not be lost.
    over: Option<Note>,
}

#[derive(Debug)]
struct Shadow {
    predictor: Predictor,
    duel: Duel,
}

impl Learning {
    /// Starts the keeper, which has challengers trained by `program`, and gives the champion of its store, if there is one that can be used.
    ///
    /// # Errors
    /// The folders cannot be made, or the thread not started.
    pub fn start(
        plan: &LearningPlan,
        engine: &str,
        program: PathBuf,
    ) -> anyhow::Result<(Learning, Option<Model>)> {
        let (notes, told) = sync_channel(WAITING);
        let (tell, news) = sync_channel(2);
        let (mut keeper, champion) = Keeper::open(plan, engine, program, tell)?;
        let thread = std::thread::Builder::new().name("learning".into());
        let thread = thread.spawn(move || keeper.run(&told))?;
        let learning = Learning {
            notes: Some(notes),
            news,
            keeper: Some(thread),
            slo: SloWatch::default(),
            shadow: None,
            shadow_ms: plan.shadow.as_millis() as u64,
            over: None,
        };
        Ok((learning, champion))
    }

    /// One interval: it is kept, the challenger is asked as well, and another model is taken up if there is one.
    pub fn sample(
        &mut self,
        sample: &TelemetrySample,
        peers: Option<&Vitals>,
        said: &Prediction,
        champion: &mut Predictor,
    ) {
        self.note(Note::Sample(Box::new((*sample, peers.copied()))));
        match self.slo.push(sample) {
            Seen::Nothing => {}
            Seen::Failed(kind) => {
                if let Some(shadow) = &mut self.shadow {
                    shadow.duel.failed(sample.at_ms);
                }
                self.note(Note::Failed(sample.at_ms, kind));
            }
            Seen::Recovered => self.note(Note::Recovered),
        }
        self.shadow(sample, peers, said, champion);
        self.over = self.over.take().and_then(|over| self.tell(over));
        while let Ok(news) = self.news.try_recv() {
            match news {
                News::Champion(model) => {
                    self.crown(model, champion);
                    // Its duel was with another.
                    if self.shadow.take().is_some() {
                        self.over = Some(Note::Over(None));
                    }
                }
                News::Challenger(model) => {
                    tracing::info!(model = model.description().name, "a challenger runs in shadow");
                    let duel = Duel::new(model.description().horizon_ms, self.shadow_ms);
                    self.shadow = Some(Shadow { predictor: Predictor::new(Arc::new(model)), duel });
                }
            }
        }
    }

    fn crown(&mut self, model: Model, champion: &mut Predictor) {
        let (new, old) = (&model.description().name, &champion.model().description().name);
        tracing::warn!(model = new, instead_of = old, "another model predicts from now on");
        champion.replace(Arc::new(model));
    }

    /// Asks the challenger as well; what it says goes nowhere but into the duel.
    fn shadow(
        &mut self,
        sample: &TelemetrySample,
        peers: Option<&Vitals>,
        said: &Prediction,
        champion: &mut Predictor,
    ) {
        let Some(Shadow { predictor, duel }) = &mut self.shadow else { return };
        peers.inspect(|peers| predictor.hear(peers));
        let of_challenger = predictor.push(sample);
        // Both are judged only where both have a normal to compare with, and something to see.
        if said.quality != Quality::WarmingUp && rateable(&of_challenger) {
            let rival = |said: &Prediction, model: &Model| {
                let number = said.quality != Quality::Degraded;
                Rival {
                    probability: if number { said.probability } else { f32::NAN },
                    alarms: number && said.alarm.probability >= model.description().alarm_from,
                }
            };
            let of_champion = rival(said, champion.model());
            duel.push(sample.at_ms, of_champion, rival(&of_challenger, predictor.model()));
        }
        let Some(verdict) = duel.verdict() else { return };
        let model = Arc::clone(predictor.model());
        let name = model.description().name.clone();
        self.shadow = None;
        let winner = match verdict {
            Ok(()) => {
                self.crown((*model).clone(), champion);
                Some(name)
            }
            Err(why) => {
                tracing::info!(model = name, why, "the challenger has lost");
                None
            }
        };
        self.over = Some(Note::Over(winner));
    }

    /// A keeper that is held up, or gone, is no reason to wait.
    fn note(&self, note: Note) {
        if self.tell(note).is_some() {
            tracing::debug!("the learning thread is held up: an interval is not kept");
        }
    }

    /// The note again if it could not be told.
    fn tell(&self, note: Note) -> Option<Note> {
        match self.notes.as_ref()?.try_send(note) {
            Err(TrySendError::Full(note)) => Some(note),
            Ok(()) | Err(TrySendError::Disconnected(_)) => None,
        }
    }
}

fn rateable(said: &Prediction) -> bool {
    !matches!(said.quality, Quality::WarmingUp | Quality::Blind)
}

impl Drop for Learning {
    /// The keeper ends its part of the history and its training.
    fn drop(&mut self) {
        self.notes = None;
        if let Some(keeper) = self.keeper.take() {
            // A thread that has panicked has said so.
            let _ = keeper.join();
        }
    }
}
