//! Failback: the engine whose part it is to be the active one asks for the site back, if it is configured to, once nothing has been
//! wrong with it for long enough. The owner decides, by the same switchover as any other: it is as careful as failover.

use super::Controller;
use crate::checks::CheckState;
use crate::config::InitialRole;
use crate::decision::Outcome;
use crate::io::Output;
use dataplane::id::Nanos;

/// What an automatic failback knows.
#[derive(Debug, Default)]
pub(super) struct Failback {
    /// A person has moved the site away: a person, or a failure, brings it back.
    away: bool,
    /// Nothing has been wrong since then.
    well_since: Option<Nanos>,
}

impl Failback {
    pub fn stay_away(&mut self) {
        self.away = true;
    }

    pub fn come_back(&mut self) {
        self.away = false;
    }
}

impl Controller {
    /// Asks for the site when it is time to.
    pub(super) fn fail_back(&mut self, out: &mut Vec<Output>) {
        let Some(config) = self.ha.config() else { return };
        let (Some(hold), InitialRole::Active) = (config.failback, config.initial) else { return };
        let owner = config.peer.clone();
        if self.ha.is_owner() {
            self.failback.well_since = None;
            return;
        }
        if self.failback.away || !self.is_well(&owner) {
            self.failback.well_since = None;
            return;
        }
        let since = *self.failback.well_since.get_or_insert(self.now);
        if self.now.since(since) < hold {
            return;
        }
        // Whatever comes of it, it is not asked again before as long a time without a fault.
        self.failback.well_since = None;
        let rule = format!("nothing was wrong here for {} s", hold.as_millis() / 1000);
        let action = format!("ask {owner} for site {}", self.config.site);
        self.decide(action, rule.clone(), self.move_inputs(), Outcome::Done, out);
        self.ask_for_site(&owner, format!("failback: {rule}"), false, out);
    }

    /// Nothing is wrong here, and the owner is there to be asked.
    fn is_well(&self, owner: &str) -> bool {
        let checks = self.checks.sight(self.now);
        let blocking = |check: &&crate::checks::Sighted| check.blocks;
        // What fails at the owner too says nothing of us.
        let worse = |check: &crate::checks::Sighted| {
            check.own.state != CheckState::Passing && check.other.state != CheckState::Failing
        };
        self.ha.owner() == Some(owner)
            && self.is_connected(owner)
            && !self.peers.get(owner).is_some_and(|peer| peer.gone)
            && self.may_forward()
            && self.failure.raised_at().is_none()
            && self.now >= self.linger_until
            && self.store_fault().is_none()
            && self.config.groups.iter().all(|group| !self.own_down(group))
            && !checks.iter().filter(blocking).any(worse)
    }
}
