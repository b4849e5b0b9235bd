//! What mirrored traffic says of the engine that would take over.

use super::Controller;
use crate::decision::Outcome;
use crate::io::Output;
use crate::mirror::MirrorReport;
use dataplane::id::Nanos;

/// A report older than this says nothing.
const FRESH: Nanos = Nanos::from_millis(5000);

/// The last report of one shadow.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    /// Of the standby, about the traffic of this engine.
    standby: Option<(Nanos, MirrorReport)>,
    /// This engine, as a shadow, found that it differs.
    own_alarm: bool,
}

impl Controller {
    /// A shadow's report: the standby's about us, or with `own` this engine's about the active. The beginning and the end of a
    /// divergence are decisions, with an example.
    pub(super) fn mirror_report(&mut self, own: bool, report: MirrorReport, out: &mut Vec<Output>) {
        let now = self.now;
        let was = match own {
            true => std::mem::replace(&mut self.mirror.own_alarm, report.alarm.is_some()),
            false => {
                let fresh = self.mirror.standby.as_ref().filter(|(at, _)| now.since(*at) < FRESH);
                fresh.is_some_and(|(_, report)| report.alarm.is_some())
            }
        };
        if was != report.alarm.is_some() {
            let peer = self.ha.peer().unwrap_or("nobody");
            let (active, shadow) =
                if own { (peer, &*self.config.engine) } else { (&*self.config.engine, peer) };
            let action = match was {
                false => format!("{shadow} diverges from {active}"),
                true => format!("{shadow} does as {active} again"),
            };
            let rule = "mirrored packets get the same verdict from both engines of a site".to_owned();
            let mut inputs = vec![
                ("compared".to_owned(), report.compared.to_string()),
                ("diverged".to_owned(), report.diverged_total().to_string()),
            ];
            inputs.extend(report.alarm.iter().map(|example| ("example".to_owned(), example.clone())));
            self.decide(action, rule, inputs, Outcome::Observed, out);
        }
        if !own {
            self.mirror.standby = Some((now, report));
        }
    }

    /// The standby's last word, while it is fresh.
    pub fn mirror(&self) -> Option<&MirrorReport> {
        let (at, report) = self.mirror.standby.as_ref()?;
        (self.now.since(*at) < FRESH).then_some(report)
    }

    /// Why nothing should move to the standby: it would treat traffic otherwise. Without a report nothing is known, and that is
    /// no reason.
    pub(super) fn mirror_fault(&self) -> Option<String> {
        let example = self.mirror()?.alarm.as_deref()?;
        Some(format!("the target treats mirrored packets otherwise: {example}"))
    }
}
