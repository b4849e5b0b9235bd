//! How large a part of the flows fits the budget.

use dataplane::id::Nanos;

/// What a mirror may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The part of the flows that is mirrored where the rest allows it, 0–1.
    pub share: f64,
    /// Copies a second.
    pub packets_ps: f64,
    /// Bytes of copies a second.
    pub bytes_ps: f64,
}

/// What a mirror took since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Copies, those that were lost among them.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Copies that found no room, or no reader in time.
    pub lost: u64,
}

/// Less than this is nothing: a flow in a hundred million.
const LEAST: f64 = 1e-8;
/// The part of the budget that is aimed at.
const AIM: f64 = 0.9;
/// Below this part of the budget, more is tried, …
const ROOM: f64 = 0.7;
/// … by this factor at the most.
const STEP: f64 = 1.25;

/// Keeps a mirror within its limits by sampling fewer flows, each of them whole, and never by leaving out packets.
#[derive(Clone, Debug)]
pub struct Budget {
    limits: Limits,
    share: f64,
}

impl Budget {
    /// At the full share.
    pub const fn new(limits: Limits) -> Budget {
        Budget { limits, share: limits.share }
    }

    /// The part of the flows to sample now.
    pub const fn share(&self) -> f64 {
        self.share
    }

    /// Takes in what was taken `over` a time, and says the part to sample from now on.
    pub fn adapt(&mut self, load: Load, over: Nanos) -> f64 {
        let seconds = over.0 as f64 / 1e9;
        if seconds <= 0.0 {
            return self.share;
        }
        let of = |taken: u64, limit: f64| taken as f64 / seconds / limit;
        let used = of(load.packets, self.limits.packets_ps).max(of(load.bytes, self.limits.bytes_ps));
        // A loss says that some limit was passed that nobody has configured.
        let used = if load.lost > 0 { used.max(2.0) } else { used };
        if used > 1.0 {
            self.share *= AIM / used;
        } else if used < ROOM {
            self.share *= if used > 0.0 { (AIM / used).min(STEP) } else { STEP };
        }
        self.share = self.share.clamp(LEAST, self.limits.share);
        self.share
    }
}
