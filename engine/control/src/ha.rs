//! Who owns the site. Ownership is a lease granted by a majority of {this engine, the other engine of
//! the site, a witness}, with an epoch that never repeats.
//!
//! Times are compared on one clock only. The owner counts a grant from when it *sent* the request and
//! keeps a tenth of the lease as margin; a voter counts its promise from when it *received* it. So an
//! owner stops before any voter may promise anew, and a slower clock, a late thread or packets still in
//! a TX queue have that tenth. An owner that missed its deadline is never owner again at that epoch.

use crate::config::{HaConfig, InitialRole, WithoutWitness};
use crate::io::Output;
use crate::message::Message;
use crate::rng::SplitMix;
use dataplane::id::{Epoch, Nanos};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) mod fence;
mod lease;
mod voter;
use voter::Voter;

/// Gratuitous ARP / unsolicited NA after a takeover, milliseconds: a lost one must not matter.
const ANNOUNCE_MS: [u64; 6] = [0, 50, 200, 1000, 2000, 4000];
/// … and then as long as this engine owns the site: whatever kept all of those from being sent, hosts find the gateway.
const ANNOUNCE_AGAIN: Nanos = Nanos::from_millis(10_000);

/// What changed, for the controller to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HaEvent {
    BecameOwner {
        how: Became,
        previous: Option<String>,
    },
    SteppedDown {
        reason: &'static str,
    },
    /// The epoch or owner of the site as this engine knows it changed.
    Learned,
}

/// How ownership came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Became {
    /// Nobody else was known to own the site.
    Boot,
    /// The lease of the owner expired or it gave up.
    Takeover,
    /// The owner handed it over.
    Transfer,
    /// A person said so.
    Forced,
}

#[derive(Clone, Debug)]
enum Role {
    /// A site with one engine.
    Single,
    Owner {
        lease_until: Nanos,
        /// A voter that restarted accepts only epochs above this one.
        above: Option<Epoch>,
    },
    Standby {
        /// Asking for the lease since then.
        asking: Option<Nanos>,
        transferred: bool,
    },
}

/// This engine's part in who owns the site.
#[derive(Debug)]
pub(crate) struct Ha {
    me: String,
    site: String,
    config: Option<HaConfig>,
    role: Role,
    /// The epoch at which `owner` owns the site; the highest known.
    epoch: Epoch,
    owner: Option<String>,
    started: Option<Nanos>,
    floor: Epoch,
    /// This engine's vote for its own site.
    own: Option<Voter>,
    /// Its votes for the sites it is the witness of.
    votes: BTreeMap<String, Option<Voter>>,
    connected: BTreeSet<String>,
    sequence: u64,
    in_flight: BTreeMap<u64, (Nanos, Epoch)>,
    next_request: Nanos,
    not_before: Nanos,
    polled: Nanos,
    /// A standby forwards until then: it was on the majority's side not long before.
    contact_until: Nanos,
    announcements: VecDeque<Nanos>,
    events: VecDeque<HaEvent>,
    rng: SplitMix,
}

impl Ha {
    pub fn new(
        me: &str,
        site: &str,
        config: Option<HaConfig>,
        votes_for: &[String],
        floor: u64,
        rng: SplitMix,
    ) -> Ha {
        let single = config.is_none();
        Ha {
            me: me.to_owned(),
            site: site.to_owned(),
            config,
            role: if single { Role::Single } else { Role::Standby { asking: None, transferred: false } },
            epoch: if single { Epoch(floor + 1) } else { Epoch(0) },
            owner: single.then(|| me.to_owned()),
            started: None,
            floor: Epoch(floor),
            own: None,
            votes: votes_for.iter().map(|site| (site.clone(), None)).collect(),
            connected: BTreeSet::new(),
            sequence: 0,
            in_flight: BTreeMap::new(),
            next_request: Nanos(0),
            not_before: Nanos(0),
            polled: Nanos(0),
            contact_until: Nanos(0),
            announcements: VecDeque::new(),
            events: VecDeque::new(),
            rng,
        }
    }

    /// The first time seen is when this engine's votes started.
    pub fn start(&mut self, now: Nanos) {
        if self.started.is_some() {
            return;
        }
        self.started = Some(now);
        let voter = Voter::new(now, self.floor);
        self.votes.values_mut().for_each(|vote| *vote = Some(voter.clone()));
        if let Some(config) = &self.config {
            let patience = match config.initial {
                InitialRole::Active => 0,
                InitialRole::Standby => 2 * config.lease.0,
            };
            self.not_before = voter.silent_until(config.lease).plus(Nanos(patience));
            self.own = Some(voter);
        }
    }

    pub fn is_owner(&self) -> bool {
        matches!(self.role, Role::Owner { .. } | Role::Single)
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    pub fn config(&self) -> Option<&HaConfig> {
        self.config.as_ref()
    }

    pub fn peer(&self) -> Option<&str> {
        self.config.as_ref().map(|c| c.peer.as_str())
    }

    pub fn next_event(&mut self) -> Option<HaEvent> {
        self.events.pop_front()
    }

    pub fn hello(&self) -> Message {
        let (site, owner) = (self.site.clone(), self.owner.clone());
        let shares_config = self.config.as_ref().is_some_and(|config| config.shares_config);
        Message::Hello { site, epoch: self.epoch, owner, parallel: true, checks: true, shares_config }
    }

    pub fn forward_until(&self) -> Nanos {
        match self.role {
            Role::Single => Nanos::MAX,
            Role::Owner { lease_until, .. } => lease_until,
            Role::Standby { .. } => self.contact_until,
        }
    }

    pub fn workers_polled(&mut self, at: Nanos) {
        self.polled = self.polled.max(at);
    }

    pub fn peer_up(&mut self, now: Nanos, peer: &str) {
        self.connected.insert(peer.to_owned());
        // A healed partition may have left hosts with the other engine's address.
        if self.is_owner() && self.peer() == Some(peer) {
            self.schedule_announcements(now);
        }
        if self.is_voter(peer) {
            self.next_request = now;
        }
    }

    pub fn peer_down(&mut self, peer: &str) {
        self.connected.remove(peer);
    }

    /// `peer` is stopping: what it was promised is free.
    pub fn goodbye(&mut self, peer: &str) {
        if let Some(voter) = &mut self.own {
            voter.release(peer);
        }
        self.votes.values_mut().flatten().for_each(|voter| voter.release(peer));
    }

    /// First thing in each step: an owner whose deadline has passed is no owner.
    pub fn expire(&mut self, now: Nanos) {
        if let Role::Owner { lease_until, .. } = self.role
            && now >= lease_until
        {
            self.step_down(now, "its lease expired");
        }
    }

    /// What the other engine of the site says of its owner.
    pub fn heard_hello(&mut self, now: Nanos, from: &str, epoch: Epoch, owner: Option<&str>) {
        if self.peer() != Some(from) {
            return;
        }
        let Some(owner) = owner else { return };
        if owner == from {
            // Its next request, with its proof, is on the way.
            let lease = self.config.as_ref().map_or(Nanos(0), |c| c.lease);
            self.not_before = self.not_before.max(now.plus(lease));
            let older = epoch > self.epoch || (epoch == self.epoch && from < self.me.as_str());
            if older && matches!(self.role, Role::Owner { .. }) {
                self.step_down(now, "the other engine owns the site at a higher epoch");
            }
        }
        if owner != self.me {
            self.learn(epoch, owner);
        }
    }

    fn learn(&mut self, epoch: Epoch, owner: &str) {
        let newer = epoch > self.epoch || (epoch == self.epoch && self.owner.as_deref() != Some(owner));
        if !newer || self.is_owner() {
            return;
        }
        self.epoch = epoch;
        self.owner = Some(owner.to_owned());
        if let Some(voter) = &mut self.own {
            voter.learn(epoch);
        }
        self.events.push_back(HaEvent::Learned);
    }

    fn step_down(&mut self, now: Nanos, reason: &'static str) {
        if let Role::Owner { lease_until, .. } = self.role {
            // Until a majority is heard again, forwarding ends where the lease would have.
            self.contact_until = lease_until;
        }
        self.role = Role::Standby { asking: None, transferred: false };
        self.owner = None;
        self.in_flight.clear();
        self.announcements.clear();
        self.next_request = now;
        if let Some(voter) = &mut self.own {
            voter.release(&self.me);
        }
        self.events.push_back(HaEvent::SteppedDown { reason });
    }

    /// Gives ownership to the other engine: from now on this one is a standby. Returns the epoch that
    /// the other may take; to be told after the workers were told.
    pub fn hand_over(&mut self, now: Nanos) -> Option<Epoch> {
        let config = self.config.clone()?;
        if !matches!(self.role, Role::Owner { .. }) {
            return None;
        }
        self.step_down(now, "handed over");
        self.contact_until = now.plus(Nanos(2 * config.lease.0));
        let voter = self.own.as_mut()?;
        let epoch = Epoch(voter.highest().max(self.epoch).0 + 1);
        voter.transfer(now, &self.me, &config.peer, epoch, config.lease);
        Some(epoch)
    }

    /// This engine ends: an owner is none from now on.
    pub fn resign(&mut self, now: Nanos) {
        if matches!(self.role, Role::Owner { .. }) {
            self.step_down(now, "this engine ends");
        }
    }

    /// A person overrules `hold`: become owner without any vote, if the other engine cannot be asked.
    pub fn force(&mut self, now: Nanos) -> Result<(), &'static str> {
        let Some(config) = self.config.clone() else { return Err("this site has one engine") };
        if config.witness.is_some() || config.without_witness != WithoutWitness::Hold {
            return Err("ownership is decided by votes here");
        }
        if self.connected.contains(&config.peer) {
            return Err("the other engine is connected: ask it");
        }
        let epoch = self.next_epoch();
        self.become_owner(now, epoch, now, Became::Forced);
        Ok(())
    }

    pub fn schedule_announcements(&mut self, now: Nanos) {
        self.announcements = ANNOUNCE_MS.iter().map(|ms| now.plus(Nanos::from_millis(*ms))).collect();
    }

    /// Gateway announcements that are due; after the role was published.
    pub fn announce(&mut self, now: Nanos, out: &mut Vec<Output>) {
        while self.is_owner() && self.announcements.front().is_some_and(|at| *at <= now) {
            self.announcements.pop_front();
            out.push(Output::AnnounceGateway);
            if self.announcements.is_empty() {
                self.announcements.push_back(now.plus(ANNOUNCE_AGAIN));
            }
        }
    }

    fn is_voter(&self, engine: &str) -> bool {
        self.config.as_ref().is_some_and(|c| c.peer == engine || c.witness.as_deref() == Some(engine))
    }
}
