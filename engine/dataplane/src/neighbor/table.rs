//! The state machine of RFC 4861 §7.3.2 for ARP and neighbour discovery, without I/O.
//!
//! The walk does not report each use of a neighbour, so that DELAY has no place here: a neighbour
//! is probed when its reachability ran out, used or not, and stays usable meanwhile.

use super::Neighbors;
use crate::id::{InterfaceId, Nanos};
use crate::wire::MacAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

type Key = (InterfaceId, IpAddr);

/// Times and sizes; the defaults are RFC 4861 §10's where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborConfig {
    /// Most neighbours, resolved or not.
    pub entries_max: usize,
    /// Solicitations before giving up.
    pub tries: u8,
    /// Between two of them.
    pub retry: Nanos,
    /// A confirmed neighbour is trusted for this long.
    pub reachable: Nanos,
    /// From then, or from an unconfirmed change, until it is probed.
    pub stale: Nanos,
}

impl Default for NeighborConfig {
    fn default() -> NeighborConfig {
        NeighborConfig {
            entries_max: 4096,
            tries: 3,
            retry: Nanos::from_millis(1000),
            reachable: Nanos::from_millis(30_000),
            stale: Nanos::from_millis(5000),
        }
    }
}

/// A question to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicit {
    /// On this interface.
    pub interface: InterfaceId,
    /// Who has this address?
    pub ip: IpAddr,
    /// To this neighbour alone; broadcast (ARP) or to the solicited-node group (ND) if `None`.
    pub unicast: Option<MacAddr>,
}

/// What a neighbour's message says beside its addresses (RFC 4861 §4.4).
///
/// An ARP reply sent to us is (true, true). A gratuitous ARP, an ARP request, and a source link-layer
/// option in a neighbour or router solicitation are (false, true).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// It answers a question of ours.
    pub solicited: bool,
    /// It replaces another MAC address.
    pub overrides: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Incomplete { since: Nanos },
    Reachable,
    Stale,
    Probe,
}

#[derive(Clone, Copy, Debug)]
struct Neighbor {
    state: State,
    /// None while incomplete.
    mac: Option<MacAddr>,
    /// Solicitations sent in this state.
    tries: u8,
    /// When the state's next step is due.
    due: Nanos,
    /// When it was last asked for or heard.
    used: Nanos,
}

/// All neighbours of an engine.
///
/// Only [`wanted`](Self::wanted) makes an entry: a message nobody asked for updates one at most. The
/// caller sees to it that addresses lie in a prefix of the interface.
#[derive(Clone, Debug)]
pub struct NeighborTable {
    config: NeighborConfig,
    neighbors: BTreeMap<Key, Neighbor>,
    /// The incomplete ones by age: the first to go when the table is full, so that a scan of a
    /// prefix cannot push out neighbours that exist (RFC 6583 §7.1).
    incomplete: BTreeSet<(Nanos, Key)>,
    /// A resolved neighbour had to make room since the last tick.
    evicted: bool,
}

impl NeighborTable {
    /// No neighbour.
    pub fn new(config: NeighborConfig) -> NeighborTable {
        NeighborTable { config, neighbors: BTreeMap::new(), incomplete: BTreeSet::new(), evicted: false }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.neighbors.len()
    }

    /// True without any entry.
    pub fn is_empty(&self) -> bool {
        self.neighbors.is_empty()
    }

    /// A packet waits for this neighbour. Returns the question to ask at once; `None` if it is known,
    /// being asked for, or if the table is full of reachable neighbours.
    pub fn wanted(&mut self, interface: InterfaceId, ip: IpAddr, now: Nanos) -> Option<Solicit> {
        let key = (interface, ip);
        if let Some(neighbor) = self.neighbors.get_mut(&key) {
            neighbor.used = now;
            return None;
        }
        if self.neighbors.len() >= self.config.entries_max {
            self.evict()?;
        }
        let due = now.plus(self.config.retry);
        let state = State::Incomplete { since: now };
        self.neighbors.insert(key, Neighbor { state, mac: None, tries: 1, due, used: now });
        self.incomplete.insert((now, key));
        Some(Solicit { interface, ip, unicast: None })
    }

    /// A neighbour told its MAC address (RFC 4861 §7.2.5). True if adjacencies changed.
    pub fn seen(
        &mut self,
        interface: InterfaceId,
        ip: IpAddr,
        mac: MacAddr,
        claim: Claim,
        now: Nanos,
    ) -> bool {
        if !mac.is_unicast() {
            return false;
        }
        let key = (interface, ip);
        let Some(neighbor) = self.neighbors.get_mut(&key) else { return false };
        let changed = neighbor.mac != Some(mac);
        if neighbor.mac.is_some() && changed && !claim.overrides {
            // Another claims the address: keep ours, but ask whether it still holds.
            if neighbor.state == State::Reachable {
                neighbor.enter(State::Stale, now.plus(self.config.stale));
            }
            return false;
        }
        if let State::Incomplete { since } = neighbor.state {
            self.incomplete.remove(&(since, key));
        }
        neighbor.mac = Some(mac);
        neighbor.used = now;
        if claim.solicited {
            neighbor.enter(State::Reachable, now.plus(self.config.reachable));
        } else if changed {
            neighbor.enter(State::Stale, now.plus(self.config.stale));
        }
        changed
    }

    /// Does what is due: appends the questions to ask, gives up on who did not answer. True if
    /// adjacencies changed, here or as [`wanted`](Self::wanted) made room.
    pub fn tick(&mut self, now: Nanos, solicit: &mut Vec<Solicit>) -> bool {
        let (config, incomplete) = (self.config, &mut self.incomplete);
        let mut dirty = std::mem::take(&mut self.evicted);
        self.neighbors.retain(|&key, neighbor| {
            let keep = neighbor.due > now || neighbor.step(key, now, &config, solicit);
            if !keep {
                dirty |= neighbor.mac.is_some();
                if let State::Incomplete { since } = neighbor.state {
                    incomplete.remove(&(since, key));
                }
            }
            keep
        });
        dirty
    }

    /// When [`tick`](Self::tick) next has something to do; `None` without entries.
    pub fn due(&self) -> Option<Nanos> {
        self.neighbors.values().map(|neighbor| neighbor.due).min()
    }

    /// Forgets the neighbours of an interface, as when its link went down. True if adjacencies changed.
    pub fn remove_interface(&mut self, interface: InterfaceId) -> bool {
        let mut dirty = false;
        self.neighbors.retain(|key, neighbor| {
            dirty |= key.0 == interface && neighbor.mac.is_some();
            key.0 != interface
        });
        self.incomplete.retain(|(_, key)| key.0 != interface);
        dirty
    }

    /// What to publish: every neighbour whose MAC address is known.
    pub fn export(&self) -> Neighbors {
        self.neighbors.iter().filter_map(|(&(interface, ip), n)| Some((interface, ip, n.mac?))).collect()
    }

    /// Has a neighbour that another process of this engine knew. It is asked soon whether it is still there.
    pub fn resume(&mut self, interface: InterfaceId, ip: IpAddr, mac: MacAddr, now: Nanos) {
        if self.wanted(interface, ip, now).is_some() {
            self.seen(interface, ip, mac, Claim { solicited: false, overrides: true }, now);
        }
    }

    /// Makes room for one entry: the oldest incomplete one, else the unconfirmed one unused for longest.
    fn evict(&mut self) -> Option<()> {
        let key = match self.incomplete.pop_first() {
            Some((_, key)) => key,
            None => {
                let unconfirmed =
                    self.neighbors.iter().filter(|(_, neighbor)| neighbor.state != State::Reachable);
                *unconfirmed.min_by_key(|(_, neighbor)| neighbor.used)?.0
            }
        };
        self.evicted |= self.neighbors.remove(&key)?.mac.is_some();
        Some(())
    }
}

impl Neighbor {
    fn enter(&mut self, state: State, due: Nanos) {
        (self.state, self.tries, self.due) = (state, 0, due);
    }

    /// The step that is due; false to give up.
    fn step(&mut self, key: Key, now: Nanos, config: &NeighborConfig, solicit: &mut Vec<Solicit>) -> bool {
        match self.state {
            State::Reachable => {
                self.enter(State::Stale, now.plus(config.stale));
                return true;
            }
            State::Stale => self.enter(State::Probe, now),
            State::Incomplete { .. } | State::Probe => {}
        }
        if self.tries >= config.tries {
            return false;
        }
        self.tries += 1;
        self.due = now.plus(config.retry);
        solicit.push(Solicit { interface: key.0, ip: key.1, unicast: self.mac });
        true
    }
}
