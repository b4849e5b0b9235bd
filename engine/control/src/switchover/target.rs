//! What is seen of both engines when it is decided whether traffic moves, and what is wrong with the one that shall take it.

use crate::checks::{CheckState, Sighted};
use crate::config::ShiftConfig;
use crate::peers::Quality;
use dataplane::id::Nanos;

/// Loss on our own path above which there is no time to lose.
pub(crate) const OWN_LOSS_URGENT: f32 = 0.05;

/// What is known of the engine that shall take the traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Target {
    pub connected: bool,
    pub alarm: bool,
    /// Its own paths to the far sites, as it reports them.
    pub path: Option<Quality>,
    /// How often it has reported all of them.
    pub rounds: u32,
    /// The direct link to it, as we measure it.
    pub direct: Option<Quality>,
}

/// What is wrong with a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It cannot carry traffic.
    Hard(String),
    /// It carries it badly.
    Soft(String),
}

impl Fault {
    pub fn reason(self) -> String {
        match self {
            Fault::Hard(reason) | Fault::Soft(reason) => reason,
        }
    }
}

impl Target {
    /// Whether it may take traffic now; `own_loss` is what staying costs.
    pub fn fault(&self, config: &ShiftConfig, own_loss: f32, rtt_max_us: f32) -> Option<Fault> {
        let hard = |reason: &str| Some(Fault::Hard(reason.to_owned()));
        if !self.connected {
            return hard("target not connected");
        }
        let (Some(path), Some(direct)) = (self.path, self.direct) else {
            return hard("target's paths not known");
        };
        if !path.up {
            return hard("target's path is down");
        }
        if !direct.up {
            return hard("direct link to the target is down");
        }
        let limit = config.loss_max.max(own_loss);
        let soft = |reason: String| Some(Fault::Soft(reason));
        if path.loss > limit {
            return soft(format!("target's path loses {:.1} %", path.loss * 100.0));
        }
        if direct.loss > limit {
            return soft(format!("direct link loses {:.1} %", direct.loss * 100.0));
        }
        if path.rtt_us > rtt_max_us {
            return soft(format!("target's round trip is {:.1} ms", path.rtt_us / 1000.0));
        }
        None
    }
}

/// What the controller sees when it asks.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub now: Nanos,
    /// Our own paths; `up` is false only when they have been down for a while.
    pub own: Quality,
    pub target: Target,
    /// The model is nearly sure.
    pub imminent: bool,
    /// Our own alarm is raised: we fail within this time, as it says.
    pub alarm: Option<Nanos>,
    /// What still reaches this engine goes on to the new owner.
    pub lingers: bool,
    /// What the target does not hold yet of the sessions that are shadowed to it.
    pub sessions_missing: Option<String>,
    /// What mirrored traffic says against the target.
    pub mirror: Option<String>,
    /// The application checks, as both see them.
    pub checks: Vec<Sighted>,
    /// The target is of a version that does not tell of its checks.
    pub mute: bool,
}

/// Three times the better round trip known at the start and 5 ms for the queues that load brings.
pub(crate) fn rtt_limit(own: Quality, target: &Target) -> f32 {
    let target = target.path.map_or(0.0, |p| p.rtt_us);
    3.0 * own.rtt_us.max(target) + 5000.0
}

impl Sight {
    /// The model is nearly sure, or the own path fails: there is no time for whole rounds.
    pub fn hurries(&self) -> bool {
        self.imminent || self.own.loss > OWN_LOSS_URGENT
    }

    fn blocking(&self) -> impl Iterator<Item = &Sighted> {
        self.checks.iter().filter(|check| check.blocks)
    }

    /// What the applications say against a planned move: the target does not reach what we reach. What neither reaches is not held
    /// against it.
    pub fn checks_fault(&self) -> Option<String> {
        let worse = |check: &&Sighted| {
            check.other.state == CheckState::Failing && check.own.state != CheckState::Failing
        };
        let here = |check: &Sighted| match check.own.state {
            CheckState::Passing => "it passes here",
            _ => "it is not known here",
        };
        let told = |check: &Sighted| {
            format!("check {} fails at the target: {}; {}", check.name, check.other.reason, here(check))
        };
        self.blocking().find(worse).map(told)
    }

    /// What is not known of the target and would have to be. A target whose version does not tell of checks at all is not waited for.
    pub fn checks_unknown(&self) -> Option<String> {
        let unknown = |check: &&Sighted| {
            check.other.state == CheckState::Unknown && check.own.state != CheckState::Failing
        };
        let unknown = self.blocking().find(unknown).filter(|_| !self.mute)?;
        Some(format!("check {} is not known at the target: {}", unknown.name, unknown.other.reason))
    }

    /// For the inputs of a decision: every check, here and there.
    pub fn checks_told(&self) -> Vec<(String, String)> {
        let side = |state: CheckState, reason: &str| match state {
            CheckState::Passing => "passing".to_owned(),
            CheckState::Failing => format!("failing ({reason})"),
            CheckState::Unknown => format!("unknown ({reason})"),
        };
        let told = |check: &Sighted| {
            let (own, other) = (&check.own, &check.other);
            let text =
                format!("{} here, {} there", side(own.state, &own.reason), side(other.state, &other.reason));
            (format!("check {}", check.name), text)
        };
        self.checks.iter().map(told).collect()
    }
}
