//! Looking closely: when an engine of the site says that it fails, both measure their paths more often and tell each other so, that
//! the move which may follow can be judged sooner.

use super::Controller;
use crate::peers::Peer;
use dataplane::id::Nanos;

/// An alarm is followed by a move within this time, or by none.
const ATTENTION: Nanos = Nanos::from_millis(10_000);
/// How often a standby tells its paths.
const REPORT: Nanos = Nanos::from_millis(100);
/// And while it looks closely; a millisecond a path, if that is more: the messages are for a control thread.
const REPORT_CLOSELY: Nanos = Nanos::from_millis(20);
const REPORT_PER_PATH: Nanos = Nanos::from_millis(1);
/// So many times as many probes are sent meanwhile (four milliseconds apart instead of 20, 0.3 Mbit/s); fewer where there are many
/// paths: no more than 5000 a second in all.
const PROBES_CLOSELY: u64 = 5;
const PROBE_PER_PATH: Nanos = Nanos(200_000);

impl Controller {
    /// The alarm of this engine, or of the other one of the site, was raised just now.
    fn attends(&self) -> bool {
        let Some(peer) = self.ha.peer() else { return false };
        let other = self.peers.get(peer).and_then(Peer::alarm_since);
        let mut alarms = self.failure.raised_at().into_iter().chain(other);
        alarms.any(|at| self.now.since(at) < ATTENTION)
    }

    /// The mean spacing of a path's probes.
    pub(super) fn probe_spacing(&self) -> Nanos {
        let configured = self.config.probe.interval_mean;
        match self.attends() {
            true => self.per_path(PROBE_PER_PATH).max(Nanos(configured.0 / PROBES_CLOSELY)).min(configured),
            false => configured,
        }
    }

    /// How often this engine tells its paths.
    pub(super) fn report_interval(&self) -> Nanos {
        match self.attends() {
            true => self.per_path(REPORT_PER_PATH).max(REPORT_CLOSELY).min(REPORT),
            false => REPORT,
        }
    }

    fn per_path(&self, share: Nanos) -> Nanos {
        Nanos(share.0 * self.config.tunnels.len() as u64)
    }
}

#[cfg(test)]
mod tests;
