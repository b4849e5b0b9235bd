//! Who may pass, as the dataplane wants it.

use super::shadow::{ShadowPlan, part_of_site};
use crate::config::Config;
use anyhow::{Context as _, Result};
use dataplane::acl::{Acl, AclError, Action, Rule};
use dataplane::flow::{HashKeys, SessionConfig, SessionTable};
use dataplane::id::{Nanos, WorkerId};
use dataplane::nat::{Nat, NatConfig, PortShare};
use dataplane::shadow::{self, ControlShadow};
use dataplane::stage::access::Sessions;
use std::sync::Arc;

/// A worker's sessions, and the ends of what shadows them.
pub type KeptSessions = (Box<Sessions>, Option<ControlShadow>);

/// `[acl]`, `[sessions]` and `[nat]`.
#[derive(Clone, Debug)]
pub struct AccessPlan {
    rules: Option<(Vec<Rule>, Action)>,
    sessions: Option<SessionConfig>,
    nat: Option<NatConfig>,
    /// Which part of NAT's ports this engine gives out, of how many.
    part: (u16, u16),
    shadowed: bool,
}

impl AccessPlan {
    /// The plan of a configuration.
    pub fn from_config(config: &Config) -> AccessPlan {
        let input = |name| config.interfaces.iter().position(|interface| interface.name == name);
        let rules = config.acl.as_ref().map(|acl| {
            let rule = |rule: &crate::config::access::AccessRule| Rule {
                addresses: rule.addresses,
                upper: rule.upper,
                // A name that no interface has was refused; what matches nothing is safe.
                input: rule.interface.clone().map(|name| input(name).map_or(u16::MAX, |id| id as u16)),
                action: rule.action,
            };
            (acl.rules.iter().map(rule).collect(), acl.default)
        });
        let sessions = config.sessions.map(|sessions| SessionConfig {
            capacity: sessions.capacity.get() as u32,
            nat: config.nat.is_some(),
            timeouts: sessions.timeouts,
            when_full: sessions.when_full,
        });
        let nat = config.nat.as_ref().map(|nat| NatConfig {
            inside: nat.inside.clone(),
            exempt: nat.exempt.clone(),
            pool: nat.pool.clone(),
            filtering: nat.filtering,
            forwards: nat.forwards.iter().map(|f| ((f.kind, f.outside), f.inside)).collect(),
        });
        let shadowed = ShadowPlan::from_config(config).is_some_and(|plan| plan.flows);
        AccessPlan { rules, sessions, nat, part: part_of_site(config), shadowed }
    }

    /// The access list, if there is one.
    pub fn acl(&self) -> Result<Option<Arc<Acl>>, AclError> {
        let compiled = self.rules.as_ref().map(|(rules, default)| Acl::compile(rules, *default));
        Ok(compiled.transpose()?.map(Arc::new))
    }

    /// The sessions of one of the workers, if they are kept: its part of all; and what leads to other engines, if they are
    /// shadowed.
    pub fn sessions(&self, worker: WorkerId, workers: usize, now: Nanos) -> Result<Option<KeptSessions>> {
        let kept = self.unshadowed(worker, workers, now)?;
        Ok(kept.map(|sessions| {
            if !self.shadowed {
                return (sessions, None);
            }
            let (links, ends) = shadow::connect();
            (Box::new(sessions.shadowed(links)), Some(ends))
        }))
    }

    /// The same, of which nobody else is told.
    pub fn unshadowed(&self, worker: WorkerId, workers: usize, now: Nanos) -> Result<Option<Box<Sessions>>> {
        let Some(config) = self.sessions else { return Ok(None) };
        let config = SessionConfig { capacity: config.capacity.div_ceil(workers as u32), ..config };
        let table = SessionTable::new(config, hash_keys()?, now);
        let nat = match self.nat.clone() {
            Some(nat) => {
                let share = PortShare::new(worker.0, workers as u16).part(self.part.0, self.part.1);
                Some(Nat::new(nat, share, hash_keys()?, random()?))
            }
            None => None,
        };
        Ok(Some(Box::new(Sessions::new(table, nat))))
    }

    /// Most live sessions of all workers.
    pub fn capacity(&self) -> u64 {
        self.sessions.map_or(0, |sessions| sessions.capacity.into())
    }

    /// Addresses that NAT translates to.
    pub fn pool(&self) -> usize {
        self.nat.as_ref().map_or(0, |nat| nat.pool.len())
    }
}

fn random() -> Result<u64> {
    use std::io::Read as _;
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("random numbers for the sessions' hash")?;
    Ok(u64::from_ne_bytes(bytes))
}

/// New at each start: nobody outside can choose flows that collide.
fn hash_keys() -> Result<HashKeys> {
    let words = (0..HashKeys::WORDS).map(|_| random()).collect::<Result<Vec<u64>>>()?;
    let mut words = words.into_iter();
    Ok(HashKeys::new(|| words.next().unwrap_or_default()))
}
