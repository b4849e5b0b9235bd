//! How often something may be done at all: a cooldown and a budget, whatever the load or a model does.

use crate::config::AdaptiveConfig;
use dataplane::id::Nanos;
use std::collections::{BTreeMap, VecDeque};

/// What is held back is said again after this long at the earliest.
const SAY_AGAIN: Nanos = Nanos::from_millis(60_000);

/// Why nothing is done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    Cooldown,
    Budget,
    /// The group has all the tunnels that it may have, as fast as they may be.
    Bound,
    /// The far engine does not understand, is not connected, or said no a moment ago.
    FarEnd,
    /// A forecast that cannot be.
    Forecast,
}

/// The actions of one group.
#[derive(Debug, Default)]
pub struct Gate {
    done: VecDeque<Nanos>,
    quiet_until: Nanos,
    said: BTreeMap<Hold, Nanos>,
}

impl Gate {
    /// How many more actions there may be now. What gives capacity up leaves half of them for what adds some.
    pub fn left(&mut self, now: Nanos, config: &AdaptiveConfig, adds: bool) -> Result<usize, Hold> {
        while self.done.front().is_some_and(|at| now.since(*at) > config.actions_window) {
            self.done.pop_front();
        }
        let most = if adds { config.actions_max } else { config.actions_max / 2 };
        match most.saturating_sub(self.done.len()) {
            0 => Err(Hold::Budget),
            _ if now < self.quiet_until => Err(Hold::Cooldown),
            left => Ok(left),
        }
    }

    /// An action begins.
    pub fn act(&mut self, now: Nanos, config: &AdaptiveConfig) {
        self.done.push_back(now);
        self.quiet_until = now.plus(config.cooldown);
    }

    /// True if it is to be said now that something is held back.
    pub fn say(&mut self, now: Nanos, hold: Hold) -> bool {
        let again = self.said.get(&hold).is_none_or(|at| now.since(*at) >= SAY_AGAIN);
        if again {
            self.said.insert(hold, now);
        }
        again
    }
}
