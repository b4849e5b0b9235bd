//! What was measured and decided, kept for those who ask and written where a person wants it.

use crate::api::status::Measured;
use control::decision::Decision;
use predictor::recording::{EventKind, Recorder};
use predictor::{TelemetrySample, Vitals};
use std::collections::VecDeque;
use std::fs::File;

/// Samples kept for those who ask: twelve seconds.
const RECENT: usize = 120;

/// The newest samples, and a recording if one is made.
#[derive(Debug, Default)]
pub struct Journal {
    recorder: Option<Recorder<File>>,
    recent: VecDeque<Measured>,
}

impl Journal {
    /// Writes to `recorder`, if there is one.
    pub fn new(recorder: Option<Recorder<File>>) -> Journal {
        Journal { recorder, recent: VecDeque::with_capacity(RECENT) }
    }

    /// One interval: what the peers said before it, and what was measured in it.
    pub fn sample(&mut self, sample: &TelemetrySample, peers: Option<&Vitals>) {
        let known = |values: &[f32]| values.iter().map(|v| v.is_finite().then_some(*v)).collect();
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        let peers_z = peers.map(|z| known(z));
        self.recent.push_back(Measured { at_ms: sample.at_ms, values: known(&sample.metrics), peers_z });
        self.write(|recorder| {
            peers.map_or(Ok(()), |z| recorder.peers(sample.at_ms, z))?;
            recorder.sample(sample)
        });
    }

    /// What the engine decided at `at_ms`.
    pub fn decision(&mut self, at_ms: u64, decision: &Decision) {
        // A decision is text and numbers: it can always be written as JSON.
        let Ok(detail) = serde_json::to_string(decision) else { return };
        self.write(|recorder| recorder.event(at_ms, EventKind::Decision, &detail));
    }

    /// The samples after a time (UNIX ms).
    pub fn since(&self, at_ms: u64) -> Vec<Measured> {
        self.recent.iter().filter(|measured| measured.at_ms > at_ms).cloned().collect()
    }

    fn write(&mut self, line: impl FnOnce(&mut Recorder<File>) -> std::io::Result<()>) {
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = line(recorder)
        {
            tracing::error!(%error, "telemetry is no longer recorded");
            self.recorder = None;
        }
    }
}
