//! Asking for the lease, keeping it, and voting.

use super::{Became, Ha, HaEvent, Role};
use crate::config::{HaConfig, WithoutWitness};
use crate::io::Output;
use crate::message::Message;
use dataplane::id::{Epoch, Nanos};

/// Requests whose answer is still awaited; older ones would grant nothing useful.
const IN_FLIGHT: usize = 32;

/// What of the lease an owner uses: the rest is margin for clocks, threads and queues.
fn usable(lease: Nanos) -> Nanos {
    Nanos(lease.0 - lease.0 / 10)
}

impl Ha {
    pub fn poll(&mut self, now: Nanos, out: &mut Vec<Output>) {
        let Some(config) = self.config.clone() else { return };
        // A hung worker must lose the lease, so nobody asks for an engine whose workers do not poll.
        let alive = now.since(self.polled).0 <= config.lease.0 / 4;
        if !alive || now < self.next_request {
            return;
        }
        match &self.role {
            Role::Single => {}
            Role::Owner { above, .. } => {
                let epoch = above.map_or(self.epoch, |above| Epoch(above.0 + 1));
                self.next_request = now.plus(Nanos(config.lease.0 / 4));
                if config.witness.is_none() {
                    self.extend(now, now, self.epoch, &config);
                }
                self.request(now, epoch, &config, out);
            }
            Role::Standby { .. } => self.poll_standby(now, &config, out),
        }
    }

    fn poll_standby(&mut self, now: Nanos, config: &HaConfig, out: &mut Vec<Output>) {
        let Some(voter) = &self.own else { return };
        let promised = voter.promise(now).map(|p| (p.owner.clone(), p.until));
        let mine = promised.as_ref().is_some_and(|(owner, _)| *owner == self.me);
        if !mine && (promised.is_some() || now < self.not_before) {
            let asked = matches!(self.role, Role::Standby { asking: Some(_), .. });
            self.role = Role::Standby { asking: None, transferred: false };
            // Two that asked at once have each other's votes, and nobody owns: these promises must not end at once too.
            if let Some((_, until)) = promised.filter(|_| asked) {
                self.next_request = until.plus(Nanos(self.rng.below(config.lease.0 / 4)));
            }
            return;
        }
        let epoch = match voter.promise(now) {
            Some(p) if mine && p.epoch == voter.highest() => p.epoch,
            _ => self.next_epoch(),
        };
        // With `hold` the peer needs our vote: if the last one was for ourselves, nobody else can own.
        let kept = voter.last_owner() == Some(self.me.as_str()) && !mine;
        let Role::Standby { asking, transferred } = &mut self.role else { return };
        *transferred &= mine;
        let since = *asking.get_or_insert(now);
        // Spread, so that two engines that ask at once do not keep splitting the vote.
        let spread = self.rng.below(config.lease.0 / 16);
        self.next_request = now.plus(Nanos(config.lease.0 / 8 + spread));
        let dual_active = config.without_witness == WithoutWitness::DualActive;
        let alone = config.witness.is_none() && (dual_active || kept);
        if alone && now.since(since).0 >= config.lease.0 / 2 {
            self.become_owner(now, epoch, now, Became::Takeover);
        } else {
            self.request(now, epoch, config, out);
        }
    }

    pub(super) fn next_epoch(&self) -> Epoch {
        let promised = self.own.as_ref().map_or(Epoch(0), |v| v.highest());
        Epoch(promised.max(self.floor).max(self.epoch).0 + 1)
    }

    fn request(&mut self, now: Nanos, epoch: Epoch, config: &HaConfig, out: &mut Vec<Output>) {
        self.sequence += 1;
        self.in_flight.insert(self.sequence, (now, epoch));
        while self.in_flight.len() > IN_FLIGHT {
            self.in_flight.pop_first();
        }
        let voters = [Some(&config.peer), config.witness.as_ref()];
        for voter in voters.into_iter().flatten().filter(|v| self.connected.contains(*v)) {
            out.push(Output::Send {
                peer: voter.clone(),
                message: Message::LeaseRequest {
                    site: self.site.clone(),
                    epoch,
                    sequence: self.sequence,
                    lease_ms: config.lease.as_millis(),
                },
            });
        }
    }

    /// `from` asks for a lease of `site`. The caller has checked that `from` is an engine of that site.
    pub fn lease_request(&mut self, now: Nanos, from: &str, message: &Message) -> Option<Message> {
        let Message::LeaseRequest { site, epoch, sequence, lease_ms } = message else { return None };
        let (site, epoch, sequence) = (site.clone(), *epoch, *sequence);
        let lease = Nanos(lease_ms.saturating_mul(1_000_000));
        let own = site == self.site;
        let lease = if own { self.config.as_ref()?.lease.max(lease) } else { lease };
        let voter = if own { self.own.as_mut()? } else { self.votes.get_mut(&site)?.as_mut()? };
        match voter.request(now, from, epoch, lease) {
            Ok(()) => {
                if own {
                    self.contact_until = self.contact_until.max(now.plus(Nanos(2 * lease.0)));
                    self.learn(epoch, from);
                }
                Some(Message::LeaseGrant { site, epoch, sequence })
            }
            Err(refusal) => {
                let (epoch, owner) = (refusal.epoch, refusal.owner);
                Some(Message::LeaseRefused { site, sequence, epoch, owner })
            }
        }
    }

    /// As the witness of `site`: it is owned. Epochs that others promised are remembered here too, for they may forget them: a
    /// machine that was set back starts by an old clock.
    pub fn witnessed(&mut self, now: Nanos, site: &str, owner: &str, epoch: Epoch) {
        if let Some(Some(voter)) = self.votes.get_mut(site) {
            voter.heard(now, owner, epoch);
        }
    }

    /// A voter granted. With our own vote that is a majority of three.
    pub fn granted(&mut self, now: Nanos, from: &str, epoch: Epoch, sequence: u64) {
        let Some(config) = self.config.clone() else { return };
        let Some(&(sent, asked)) = self.in_flight.get(&sequence) else { return };
        if !self.is_voter(from) || asked != epoch {
            return;
        }
        match self.role {
            Role::Single => {}
            Role::Owner { .. } => self.extend(now, sent, epoch, &config),
            Role::Standby { transferred, .. } => {
                self.contact_until = self.contact_until.max(sent.plus(Nanos(2 * config.lease.0)));
                let how = match &self.owner {
                    _ if transferred => Became::Transfer,
                    Some(owner) if *owner != self.me => Became::Takeover,
                    _ => Became::Boot,
                };
                if sent.plus(usable(config.lease)) > now {
                    self.become_owner(now, epoch, sent, how);
                }
            }
        }
    }

    /// Our own vote is needed too: it may be promised to the other engine.
    pub(super) fn become_owner(&mut self, now: Nanos, epoch: Epoch, sent: Nanos, how: Became) {
        let Some(lease) = self.config.as_ref().map(|c| c.lease) else { return };
        let forced = how == Became::Forced;
        let Some(voter) = &mut self.own else { return };
        if voter.request(now, &self.me, epoch, lease).is_err() && !forced {
            return;
        }
        voter.learn(epoch);
        let previous = self.owner.take().filter(|owner| *owner != self.me);
        self.role = Role::Owner { lease_until: sent.plus(usable(lease)), above: None };
        self.epoch = epoch;
        self.owner = Some(self.me.clone());
        self.next_request = now;
        self.schedule_announcements(now);
        self.events.push_back(HaEvent::BecameOwner { how, previous });
        self.events.push_back(HaEvent::Learned);
    }

    fn extend(&mut self, now: Nanos, sent: Nanos, epoch: Epoch, config: &HaConfig) {
        let Some(voter) = &mut self.own else { return };
        if voter.request(now, &self.me, epoch, config.lease).is_err() {
            return;
        }
        let Role::Owner { lease_until, above } = &mut self.role else { return };
        *lease_until = (*lease_until).max(sent.plus(usable(config.lease)));
        if epoch > self.epoch {
            *above = None;
            self.epoch = epoch;
            self.events.push_back(HaEvent::Learned);
        }
    }

    /// A voter refused.
    pub fn refused(&mut self, now: Nanos, from: &str, sequence: u64, epoch: Epoch, owner: Option<&str>) {
        let Some(config) = self.config.clone() else { return };
        let Some(&(sent, _)) = self.in_flight.get(&sequence) else { return };
        if !self.is_voter(from) {
            return;
        }
        let other = owner.filter(|owner| *owner != self.me);
        match &mut self.role {
            Role::Single => return,
            Role::Owner { above, .. } if epoch > self.epoch => match other {
                Some(_) => self.step_down(now, "a voter knows a higher epoch"),
                None => *above = (*above).max(Some(epoch)),
            },
            Role::Owner { .. } => return,
            Role::Standby { asking, .. } => {
                // Somebody answers: we are not alone.
                *asking = Some(now);
                self.contact_until = self.contact_until.max(sent.plus(Nanos(2 * config.lease.0)));
            }
        }
        if let Some(voter) = &mut self.own
            && !matches!(self.role, Role::Owner { .. })
        {
            voter.learn(epoch);
        }
        if let Some(owner) = other {
            self.learn(epoch, owner);
        }
    }

    /// The owner of `site` gives its lease to `to`.
    pub fn transferred(&mut self, now: Nanos, from: &str, site: &str, epoch: Epoch, to: &str) {
        if site != self.site {
            // As a witness: the lease length is the site's own affair; the new owner renews at once.
            if let Some(Some(voter)) = self.votes.get_mut(site) {
                voter.transfer(now, from, to, epoch, Nanos::from_millis(1000));
            }
            return;
        }
        let Some(config) = self.config.clone() else { return };
        let Some(voter) = &mut self.own else { return };
        if config.peer != from || to != self.me || matches!(self.role, Role::Owner { .. }) {
            return;
        }
        if voter.transfer(now, from, to, epoch, config.lease) {
            self.role = Role::Standby { asking: Some(now), transferred: true };
            self.next_request = now;
        }
    }
}
