//! What two engines call alike: interfaces by their names, and where a tunnel leads by its site.

use crate::plan::Plan;
use control::mirror::{Hello, reason_named};
use dataplane::id::{GroupId, InterfaceId, TunnelId};
use dataplane::mirror::wire::{Entry, Told, Verdict};
use dataplane::mirror::{Copied, Fate, Ingress, Lead};
use dataplane::snapshot::Encapsulation;

/// This engine's places and their names.
#[derive(Clone, Debug)]
pub struct Names {
    interfaces: Vec<String>,
    /// By group.
    sites: Vec<String>,
    /// The group that a tunnel is a member of, by tunnel.
    groups: Vec<Option<GroupId>>,
    /// A tunnel that leads to its site, by group.
    tunnels: Vec<Option<TunnelId>>,
}

/// No name has this place.
const NOWHERE: u16 = u16::MAX;

impl Names {
    /// Those of a plan.
    pub fn of(plan: &Plan) -> Names {
        let forwarding = &plan.forwarding;
        let group = |tunnel| forwarding.groups.iter().find(|group| group.members.contains(&tunnel));
        let own =
            |tunnel: &&TunnelId| forwarding.tunnels[tunnel.index()].encapsulation != Encapsulation::Direct;
        Names {
            interfaces: plan.interface_names.clone(),
            sites: forwarding.groups.iter().map(|group| group.site.clone()).collect(),
            groups: forwarding.tunnels.iter().map(|tunnel| group(tunnel.id).map(|group| group.id)).collect(),
            tunnels: forwarding.groups.iter().map(|group| group.members.iter().find(own).copied()).collect(),
        }
    }

    /// What this engine says first.
    pub fn hello(&self) -> Hello {
        Hello::new(self.interfaces.clone(), self.sites.clone())
    }

    /// A copy in these terms.
    pub fn told<'a>(&self, worker: u8, copied: &'a Copied) -> Told<'a> {
        let from = match copied.ingress {
            Ingress::Interface(InterfaceId(place)) => Entry::Interface(place),
            Ingress::Tunnel(tunnel) => {
                let group = self.groups.get(tunnel.index()).copied().flatten();
                Entry::Site(group.map_or(NOWHERE, |group| group.0))
            }
        };
        let verdict = match copied.fate {
            Fate::Dropped(reason) => Verdict::Dropped(reason as u16),
            Fate::Forwarded(Lead::Group(group)) => Verdict::Site(group.0),
            Fate::Forwarded(Lead::Neighbor { interface, ip }) => {
                Verdict::Neighbor { interface: interface.0, ip }
            }
            Fate::Forwarded(Lead::Answer) => Verdict::Answer,
        };
        Told {
            worker,
            sequence: copied.sequence,
            samples: copied.samples,
            threshold: copied.threshold,
            in_session: copied.in_session,
            from,
            length: copied.length,
            protocol: copied.protocol,
            residence_ns: copied.residence.map(|r| u32::try_from(r.0).unwrap_or(u32::MAX)),
            verdict,
            head: copied.head(),
        }
    }

    /// Where a copy of another engine comes in here.
    pub fn ingress(&self, theirs: &Hello, from: Entry) -> Option<Ingress> {
        match from {
            Entry::Interface(place) => self.interface(theirs, place).map(Ingress::Interface),
            Entry::Site(place) => {
                let group = self.group(theirs, place)?;
                self.tunnels.get(group.index()).copied().flatten().map(Ingress::Tunnel)
            }
        }
    }

    /// Another engine's verdict in this one's terms.
    pub fn fate(&self, theirs: &Hello, verdict: Verdict) -> Option<Fate> {
        Some(match verdict {
            Verdict::Dropped(place) => Fate::Dropped(reason_named(&theirs.reasons, place)?),
            Verdict::Site(place) => Fate::Forwarded(Lead::Group(self.group(theirs, place)?)),
            Verdict::Neighbor { interface, ip } => {
                Fate::Forwarded(Lead::Neighbor { interface: self.interface(theirs, interface)?, ip })
            }
            Verdict::Answer => Fate::Forwarded(Lead::Answer),
        })
    }

    /// Another engine's place, for people.
    pub fn show_entry(&self, theirs: &Hello, from: Entry) -> String {
        let name = |names: &[String], place: u16| names.get(usize::from(place)).cloned();
        match from {
            Entry::Interface(place) => name(&theirs.interfaces, place),
            Entry::Site(place) => name(&theirs.sites, place).map(|site| format!("site {site}")),
        }
        .unwrap_or_else(|| "nowhere".to_owned())
    }

    /// A verdict in this engine's terms, for people.
    pub fn show_fate(&self, fate: Option<Fate>) -> String {
        match fate {
            None => "not known here".to_owned(),
            Some(Fate::Dropped(reason)) => reason.name().to_owned(),
            Some(Fate::Forwarded(Lead::Group(group))) => format!("to site {}", self.sites[group.index()]),
            Some(Fate::Forwarded(Lead::Neighbor { interface, ip })) => {
                format!("to {ip} on {}", self.interfaces[interface.index()])
            }
            Some(Fate::Forwarded(Lead::Answer)) => "answered".to_owned(),
        }
    }

    fn interface(&self, theirs: &Hello, place: u16) -> Option<InterfaceId> {
        let name = theirs.interfaces.get(usize::from(place))?;
        self.interfaces.iter().position(|known| known == name).map(|place| InterfaceId(place as u16))
    }

    fn group(&self, theirs: &Hello, place: u16) -> Option<GroupId> {
        let site = theirs.sites.get(usize::from(place))?;
        self.sites.iter().position(|known| known == site).map(|place| GroupId(place as u16))
    }
}
