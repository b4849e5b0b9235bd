//! How long the steps of a switchover are watched, and how long busy buckets may take to move in them.

use super::{Sight, Switchover};
use dataplane::id::Nanos;

/// An alarm says by when this engine fails; as often as not that is in half of the time. A tenth of the half is for the move: this part
/// of all for watching the steps, and as much for applying them and handing over.
const SHARE_WATCHED: u64 = 40;
/// A step is watched for no less than this: a few probes, and every worker has seen it.
const LEAST_WATCHED: Nanos = Nanos::from_millis(50);
/// And the last one: a probe is lost after 100 ms, reported within 100, and what it says must count among the window's 50. Who owns the
/// site was seen to work.
const LEAST_VERIFIED: Nanos = Nanos::from_millis(400);
/// Or this, if both engines look closely (`controller::attention`): a probe is lost after 100 ms, reported within 20, and five times as
/// many are sent.
const LEAST_VERIFIED_CLOSELY: Nanos = Nanos::from_millis(250);
/// Who looks closely has reported so often by then. Others have not: an older engine, one with many tunnels, one that is held up.
const ROUNDS_CLOSELY: u32 = 8;

impl Switchover {
    /// How long a step is watched.
    pub(super) fn watching(&self, sight: &Sight) -> Nanos {
        let most = if sight.hurries() { Nanos(self.config.verify.0 / 4) } else { self.config.verify };
        let least = match self.percent() {
            ..100 => LEAST_WATCHED,
            _ if sight.target.rounds.saturating_sub(self.rounds) >= ROUNDS_CLOSELY => LEAST_VERIFIED_CLOSELY,
            _ => LEAST_VERIFIED,
        };
        self.paced().min(most).max(least).min(self.config.verify)
    }

    /// How long a step may be watched: after an alarm by what is left.
    pub(super) fn paced(&self) -> Nanos {
        let steps = self.config.steps_percent.len().max(1) as u64;
        let share = |left: Nanos| Nanos(left.0 / SHARE_WATCHED / steps).max(LEAST_WATCHED);
        self.left.map_or(self.config.verify, share).min(self.config.verify)
    }

    /// How long busy buckets may take to move: that long at least, the step is watched as well. In the last one they may take longer.
    pub fn move_within(&self) -> Nanos {
        let watched =
            if self.percent() < 100 { self.paced() } else { self.paced().max(LEAST_VERIFIED_CLOSELY) };
        Nanos((self.config.verify.0 / 4).min(watched.0 / 2))
    }
}
