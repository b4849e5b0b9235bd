//! The election of a link's gateway among routers of any maker: VRRP version 3 (RFC 9568). Among the engines of a site the
//! lease has decided before; only its holder stands here.

use dataplane::context::Version;
use dataplane::id::Nanos;
use dataplane::wire::vrrp::LEAVES;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

#[cfg(test)]
mod tests;

/// Contradicting another Active Router at once is for learning bridges' sake; no oftener than this part of an interval.
const ASSERT_PART: u64 = 10;

/// Where a virtual router is in its life (RFC 9568 §6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VrrpState {
    /// Does not stand: this engine does not own the site.
    Initialize,
    /// Listens.
    Backup,
    /// Is the gateway.
    Active,
}

/// What an election asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Send an advertisement with this priority.
    Advertise(u8),
    /// This engine is the Active Router from now on, or no longer.
    Active(bool),
}

/// An advertisement that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub from: IpAddr,
    pub priority: u8,
    pub interval: Nanos,
}

/// What a virtual router is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters {
    pub version: Version,
    /// What its advertisements come from: the higher one wins among equals.
    pub local: IpAddr,
    pub priority: u8,
    pub interval: Nanos,
    /// Takes the place of an Active Router of lower priority.
    pub preempt: bool,
    /// Standing means that this site's other engine has been fenced: what it said does not count.
    pub fenced: bool,
}

/// One virtual router of one IP version.
#[derive(Debug)]
pub(crate) struct VirtualRouter {
    parameters: Parameters,
    state: VrrpState,
    /// Priority of the last advertisement sent, and when the next is due.
    sent: u8,
    next: Nanos,
    asserted: Nanos,
    /// Without another word the Active Router heard last counts as gone then (Active_Down_Timer).
    gone_at: Nanos,
    /// How often that one sends (Active_Adver_Interval).
    their_interval: Nanos,
    heard: Option<Heard>,
}

impl VirtualRouter {
    pub fn new(parameters: Parameters) -> VirtualRouter {
        VirtualRouter {
            parameters,
            state: VrrpState::Initialize,
            sent: LEAVES,
            next: Nanos(0),
            asserted: Nanos(0),
            gone_at: Nanos(0),
            their_interval: parameters.interval,
            heard: None,
        }
    }

    /// Begins to listen.
    pub fn start(&mut self, now: Nanos) {
        self.gone_at = now.plus(self.patience(self.parameters.priority));
    }

    /// Another process of this engine was the Active Router until now: nobody else has heard anything else. It advertises at
    /// once, and nothing else is to be done.
    pub fn resume(&mut self) {
        self.state = VrrpState::Active;
    }

    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    pub fn state(&self) -> VrrpState {
        self.state
    }

    /// The Active Router, if it is another one that was heard.
    pub fn other(&self) -> Option<Heard> {
        self.heard.filter(|_| self.state != VrrpState::Active)
    }

    /// RFC 9568 §6.1, Skew_Time.
    fn skew(&self, priority: u8) -> Nanos {
        Nanos(self.their_interval.0 * (256 - u64::from(priority)) / 256)
    }

    /// RFC 9568 §6.1, Active_Down_Interval.
    fn patience(&self, priority: u8) -> Nanos {
        Nanos(3 * self.their_interval.0).plus(self.skew(priority))
    }

    /// Another router advertises (RFC 9568 §6.4.2, §6.4.3); `ours` is our priority now.
    pub fn receive(&mut self, now: Nanos, heard: Heard, ours: u8, acts: &mut Vec<Act>) {
        if heard.from == self.parameters.local {
            return;
        }
        if self.state == VrrpState::Active {
            let better =
                heard.priority > ours || heard.priority == ours && heard.from > self.parameters.local;
            if heard.priority == LEAVES {
                self.advertise(now, ours, acts);
            } else if better {
                self.defer(now, heard, ours);
                self.state = VrrpState::Backup;
                acts.push(Act::Active(false));
            } else if now.since(self.asserted).0 >= self.parameters.interval.0 / ASSERT_PART {
                self.asserted = now;
                self.advertise(now, ours, acts);
            }
        } else if heard.priority == LEAVES {
            self.gone_at = self.gone_at.min(now.plus(self.skew(ours)));
        } else if !self.parameters.preempt || heard.priority >= ours {
            self.defer(now, heard, ours);
        }
    }

    fn defer(&mut self, now: Nanos, heard: Heard, ours: u8) {
        self.their_interval = heard.interval;
        self.gone_at = now.plus(self.patience(ours));
        self.heard = Some(heard);
    }

    /// What time brings to a router that stands with this priority, or does not stand.
    pub fn poll(&mut self, now: Nanos, stands: Option<u8>, acts: &mut Vec<Act>) {
        let Some(priority) = stands else {
            if self.state == VrrpState::Active {
                acts.push(Act::Active(false));
                self.gone_at = now.plus(self.patience(self.parameters.priority));
            }
            self.state = VrrpState::Initialize;
            return;
        };
        if self.state == VrrpState::Initialize {
            self.state = VrrpState::Backup;
            if self.parameters.fenced && self.heard.is_some_and(|heard| heard.priority <= priority) {
                self.gone_at = now;
            }
        }
        match self.state {
            VrrpState::Backup if now >= self.gone_at => {
                self.state = VrrpState::Active;
                (self.heard, self.their_interval) = (None, self.parameters.interval);
                acts.push(Act::Active(true));
                self.advertise(now, priority, acts);
            }
            VrrpState::Active if now >= self.next || priority != self.sent => {
                self.advertise(now, priority, acts);
            }
            _ => {}
        }
    }

    /// Ends with nobody to follow but the routers that listen: they are told, and need not wait (RFC 9568 §6.4.3).
    pub fn leave(&mut self, acts: &mut Vec<Act>) {
        if self.state == VrrpState::Active {
            acts.extend([Act::Advertise(LEAVES), Act::Active(false)]);
        }
        self.state = VrrpState::Initialize;
    }

    fn advertise(&mut self, now: Nanos, priority: u8, acts: &mut Vec<Act>) {
        (self.sent, self.next) = (priority, now.plus(self.parameters.interval));
        acts.push(Act::Advertise(priority));
    }
}
