//! What an engine leaves to the next process of it. By names, not numbers: the configuration may be another one, and what it no
//! longer has is left out.

use crate::peer::keys::SaKey;
use crate::runtime::engine::Engine;
use control::ControllerState;
use dataplane::bfd;
use dataplane::context::TunnelSequence;
use dataplane::id::{GroupId, Spi, TunnelId};
use dataplane::replay::WindowState;
use dataplane::sa::Algorithm;
use dataplane::snapshot::Encapsulation;
use dataplane::wire::MacAddr;
use dataplane::worker::handover::WorkerState;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use zeroize::Zeroizing;

/// See the module. Sessions go by themselves.
#[derive(Serialize, Deserialize)]
pub struct EngineState {
    /// What the controller goes on with.
    pub controller: ControllerState,
    /// By name.
    pub tunnels: BTreeMap<String, TunnelState>,
    /// Groups by name: whose which buckets are, as runs.
    pub groups: BTreeMap<String, Vec<(String, u32)>>,
    /// Routes that were changed while the engine ran, as in a routes file; `None`: withdrawn.
    pub routes: Vec<(IpNet, Option<String>)>,
    /// Neighbours, by interface.
    pub neighbors: Vec<(String, IpAddr, MacAddr)>,
    /// BFD sessions.
    pub bfd: Vec<BfdState>,
    /// By port: digests of what has been received since both processes do. A port that is missing had too much of it.
    pub taken: BTreeMap<String, Vec<u64>>,
}

/// A tunnel.
#[derive(Serialize, Deserialize)]
pub struct TunnelState {
    pub up: bool,
    pub fenced: bool,
    /// Where its far end is seen, if it may be elsewhere than configured.
    pub far_end: Option<(IpAddr, u16)>,
    /// What the far end behind a NAT calls itself.
    pub far_inside: Option<IpAddr>,
    /// Its inner MTU, if a router on the way has lowered it.
    pub mtu: Option<u16>,
    /// Of its SAs.
    pub algorithm: Option<Algorithm>,
    pub esn: bool,
    pub inbound: Vec<InboundSaState>,
    /// By worker, as far as it sends.
    pub outbound: Vec<(u16, OutboundSaState)>,
    /// By worker.
    pub sequences: Vec<TunnelSequence>,
}

/// An inbound SA; one of static keys has none here.
#[derive(Serialize, Deserialize)]
pub struct InboundSaState {
    pub spi: Spi,
    pub generation: u64,
    pub key: Option<Secret>,
    pub window: WindowState,
}

/// An outbound SA.
#[derive(Serialize, Deserialize)]
pub struct OutboundSaState {
    pub spi: Spi,
    pub key: Secret,
    /// The last sequence number that was used.
    pub sent: u64,
}

/// A BFD session.
#[derive(Serialize, Deserialize)]
pub struct BfdState {
    pub local: IpAddr,
    pub remote: IpAddr,
    pub resume: bfd::Resume,
}

/// Keying material on its way; erased, and never shown.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Of a derived key.
    fn of(key: &SaKey) -> Secret {
        Secret(Zeroizing::new(key.keymat().to_vec()))
    }

    /// The octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        Vec::deserialize(from).map(|octets| Secret(Zeroizing::new(octets)))
    }
}

impl Engine {
    /// What another process goes on with; the workers are parked, and `workers` is how far they have come.
    pub(super) fn state(&self, workers: &[WorkerState]) -> EngineState {
        let tunnels = &self.plan.tunnels;
        let groups = self.plan.forwarding.groups.iter();
        let names = &self.plan.interface_names;
        let known = self.neighbors.known();
        let bfd = self.plan.forwarding.bfd.iter().zip(workers.first().map_or(&[][..], |first| &first.bfd));
        let taken = self.plan.ports.iter().zip(&self.devices);
        EngineState {
            controller: self.controller.state(),
            tunnels: tunnels.iter().map(|t| (t.name.clone(), self.tunnel_state(t.id, workers))).collect(),
            groups: groups.map(|group| (group.name.clone(), self.runs(group.id))).collect(),
            routes: self
                .forwarding
                .routes
                .changed()
                .map(|(prefix, next_hop)| (prefix, next_hop.map(|next_hop| self.target(next_hop))))
                .collect(),
            neighbors: known.iter().map(|(on, ip, mac)| (names[on.index()].clone(), ip, mac)).collect(),
            bfd: bfd
                .map(|(p, resume)| BfdState { local: p.local, remote: p.remote, resume: *resume })
                .collect(),
            taken: taken.filter_map(|(port, device)| Some((port.name.clone(), device.taken()?))).collect(),
        }
    }

    fn runs(&self, group: GroupId) -> Vec<(String, u32)> {
        let runs = self.forwarding.buckets(group).runs().into_iter();
        runs.map(|(tunnel, many)| (self.plan.tunnels[tunnel.index()].name.clone(), many)).collect()
    }

    fn tunnel_state(&self, id: TunnelId, workers: &[WorkerState]) -> TunnelState {
        let tunnel = &self.forwarding.tunnels()[id.index()];
        let esp = self.plan.tunnels[id.index()].esp.as_ref();
        let (far_end, far_inside) = match tunnel.encapsulation {
            Encapsulation::EspUdp(settings) => (Some((tunnel.remote, settings.remote_port)), settings.inside),
            Encapsulation::WireGuard(settings) => (Some((tunnel.remote, settings.remote_port)), None),
            _ => (None, None),
        };
        let lowered = self.path_mtus.lowered(&self.forwarding).into_iter().find(|(of, _)| *of == id);
        let inbound = workers.iter().flat_map(|worker| &worker.inbound).filter(|sa| sa.tunnel == id);
        let outbound = (0..).zip(workers).flat_map(|(number, worker)| {
            worker.outbound.iter().filter(|sa| sa.tunnel == id).map(move |sa| (number, sa))
        });
        TunnelState {
            up: tunnel.up,
            fenced: tunnel.fenced,
            far_end,
            far_inside,
            mtu: lowered.map(|(_, mtu)| mtu),
            algorithm: esp.map(|esp| esp.algorithm),
            esn: esp.is_some_and(|esp| esp.esn),
            inbound: inbound
                .map(|sa| {
                    let key = self.sas.key_of(id, sa.spi, true);
                    InboundSaState {
                        spi: sa.spi,
                        generation: key.map_or(0, |(generation, _)| generation),
                        key: key.map(|(_, key)| Secret::of(key)),
                        window: sa.window.clone(),
                    }
                })
                .collect(),
            outbound: outbound
                .filter_map(|(number, sa)| {
                    let (_, key) = self.sas.key_of(id, sa.spi, false)?;
                    Some((number, OutboundSaState { spi: sa.spi, key: Secret::of(key), sent: sa.sent }))
                })
                .collect(),
            sequences: workers.iter().map(|worker| worker.sequences[id.index()]).collect(),
        }
    }
}
