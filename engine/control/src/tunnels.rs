//! The SAs of ESP tunnels: negotiated by their receiver, made before the old ones are broken.
//!
//! The receiver installs inbound SAs of a new generation, offers them, the sender switches to them and
//! says so, and only after a grace time do the old ones go (RFC 7296 §2.8 in spirit). So whatever the
//! sender sends at any time finds its SA installed. A control connection that breaks changes nothing;
//! a new one brings new key material and therefore new generations, never an old number again.

use crate::config::{Protocol, TunnelConfig};
use crate::io::Output;
use crate::message::{Endpoints, Message, SaParameters};
use crate::rng::SplitMix;
use dataplane::id::{Nanos, Spi, TunnelId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

mod spi;
use spi::SpiAllocator;

/// Old inbound SAs stay this long after the peer stopped using them.
const GRACE: Nanos = Nanos::from_millis(2000);
/// An offer without an answer is repeated this often.
const REOFFER: Nanos = Nanos::from_millis(2000);
/// A worker at its soft limit asks the peer at most this often.
const REKEY_ASK: Nanos = Nanos::from_millis(1000);

/// How far our newest inbound generation is.
#[derive(Debug, PartialEq)]
enum Inbound {
    None,
    Installing { generation: u64, spis: Vec<Spi> },
    Offered { generation: u64, spis: Vec<Spi>, since: Nanos },
    InUse,
}

/// The SAs of one ESP tunnel.
#[derive(Debug)]
struct Sa {
    peer: String,
    endpoints: Endpoints,
    rekey_after: Nanos,
    parameters: SaParameters,
    /// Workers of the peer.
    senders: u16,
    /// It is configured, or was made: until then nothing is offered and no offer taken.
    made: bool,
    connected: bool,
    connection: u64,
    generation: u64,
    inbound: Inbound,
    in_use: Option<u64>,
    rekey_at: Nanos,
    removals: VecDeque<(Nanos, u64)>,
    /// SPIs of inbound generations not yet removed.
    live: BTreeMap<u64, Vec<Spi>>,
    outbound: Option<u64>,
    /// Highest generation ever switched to in this connection: never again, or its nonces would repeat.
    outbound_highest: u64,
    outbound_pending: VecDeque<(u64, u64)>,
    asked_rekey: Option<Nanos>,
}

/// How far a tunnel's SAs have come, for another process of this engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generations {
    parameters: SaParameters,
    generation: u64,
    live: BTreeMap<u64, Vec<Spi>>,
    in_use: Option<u64>,
    outbound: Option<u64>,
}

/// The SAs of all ESP tunnels of this engine.
#[derive(Debug)]
pub(crate) struct SaManager {
    sas: BTreeMap<TunnelId, Sa>,
    /// Whether WireGuard's tunnels have keys.
    sessions: BTreeMap<TunnelId, bool>,
    spis: SpiAllocator,
    rng: SplitMix,
}

impl SaManager {
    pub fn new(tunnels: &[TunnelConfig], workers: u16, mut rng: SplitMix) -> SaManager {
        let sas = tunnels
            .iter()
            .filter_map(|t| match t.protocol {
                Protocol::Esp { rekey_after, parameters, senders } => {
                    Some((t.id, Sa::new(t, rekey_after, parameters, senders)))
                }
                Protocol::Fixed { .. } | Protocol::WireGuard { .. } | Protocol::Direct => None,
            })
            .collect();
        let fixed = tunnels.iter().filter_map(|t| match t.protocol {
            Protocol::Fixed { spi, .. } => spi,
            _ => None,
        });
        let wireguard = tunnels.iter().filter(|t| matches!(t.protocol, Protocol::WireGuard { .. }));
        let sessions = wireguard.map(|t| (t.id, false)).collect();
        SaManager { sas, sessions, spis: SpiAllocator::new(workers, rng.fork(), fixed), rng }
    }

    /// What another process goes on with.
    pub fn state(&self, tunnel: TunnelId) -> Option<Generations> {
        self.sas.get(&tunnel).map(|sa| Generations {
            parameters: sa.parameters,
            generation: sa.generation,
            live: sa.live.clone(),
            in_use: sa.in_use,
            outbound: sa.outbound,
        })
    }

    /// Goes on with the SAs that another process has agreed on; the peer offers new ones once it is connected.
    pub fn resume(&mut self, tunnel: TunnelId, from: &Generations) {
        let Some(sa) = self.sas.get_mut(&tunnel).filter(|sa| sa.parameters == from.parameters) else {
            return;
        };
        sa.generation = from.generation;
        sa.live.clone_from(&from.live);
        (sa.in_use, sa.outbound) = (from.in_use, from.outbound);
        self.spis.take(from.live.values().flatten().copied());
    }

    /// Packets can leave through `tunnel`: true for tunnels without keys.
    pub fn can_send(&self, tunnel: TunnelId) -> bool {
        self.sas.get(&tunnel).is_none_or(|sa| sa.outbound.is_some())
            && self.sessions.get(&tunnel).is_none_or(|up| *up)
    }

    /// A WireGuard tunnel has keys, or none any more.
    pub fn session(&mut self, tunnel: TunnelId, up: bool) {
        if let Some(session) = self.sessions.get_mut(&tunnel) {
            *session = up;
        }
    }

    /// (inbound generation the peer uses, outbound generation in use)
    pub fn generations(&self, tunnel: TunnelId) -> (Option<u64>, Option<u64>) {
        self.sas.get(&tunnel).map_or((None, None), |sa| (sa.in_use, sa.outbound))
    }

    /// SPIs of the inbound SAs that are installed, of all generations.
    pub fn inbound_spis(&self, tunnel: TunnelId) -> Vec<Spi> {
        self.sas.get(&tunnel).into_iter().flat_map(|sa| sa.live.values().flatten()).copied().collect()
    }

    pub fn peer_up(&mut self, peer: &str, out: &mut Vec<Output>) {
        for (&id, sa) in self.sas.iter_mut().filter(|(_, sa)| sa.peer == peer) {
            sa.connected = true;
            sa.connection += 1;
            sa.outbound_highest = 0;
            if sa.made {
                sa.begin(id, &mut self.spis, out);
            }
        }
    }

    pub fn peer_down(&mut self, peer: &str) {
        for sa in self.sas.values_mut().filter(|sa| sa.peer == peer) {
            sa.connected = false;
        }
    }

    /// Begins to negotiate for a tunnel that was agreed on.
    pub fn make(&mut self, tunnel: TunnelId, connected: bool, out: &mut Vec<Output>) {
        let Some(sa) = self.sas.get_mut(&tunnel).filter(|sa| !sa.made) else { return };
        (sa.made, sa.connected) = (true, connected);
        if connected {
            sa.begin(tunnel, &mut self.spis, out);
        }
    }

    /// Deletes the SAs of a tunnel that neither end uses any more. Its generations are never used again.
    pub fn unmake(&mut self, tunnel: TunnelId, out: &mut Vec<Output>) {
        let Some(sa) = self.sas.get_mut(&tunnel).filter(|sa| sa.made) else { return };
        sa.made = false;
        out.push(Output::RemoveInbound { tunnel, generation: sa.generation });
        out.push(Output::RemoveOutbound { tunnel });
        std::mem::take(&mut sa.live).into_values().flatten().for_each(|spi| self.spis.release(spi));
        sa.removals.clear();
        sa.outbound_pending.clear();
        (sa.inbound, sa.in_use, sa.outbound, sa.asked_rekey) = (Inbound::None, None, None, None);
    }

    pub fn inbound_installed(
        &mut self,
        now: Nanos,
        tunnel: TunnelId,
        generation: u64,
        out: &mut Vec<Output>,
    ) {
        let Some(sa) = self.sas.get_mut(&tunnel) else { return };
        if let Inbound::Installing { generation: g, spis } = &mut sa.inbound
            && *g == generation
        {
            let spis = std::mem::take(spis);
            if sa.connected {
                out.push(sa.offer(generation, &spis));
            }
            sa.inbound = Inbound::Offered { generation, spis, since: now };
        }
    }

    pub fn outbound_installed(&mut self, tunnel: TunnelId, generation: u64, out: &mut Vec<Output>) {
        let Some(sa) = self.sas.get_mut(&tunnel) else { return };
        // Answers come in the order of the orders; an order of a lost connection may have no answer.
        let Some(at) = sa.outbound_pending.iter().position(|(_, g)| *g == generation) else { return };
        let (connection, _) = sa.outbound_pending.drain(..=at).next_back().expect("position is within");
        sa.outbound = Some(generation);
        sa.asked_rekey = None;
        if sa.connected && connection == sa.connection {
            out.push(sa.send(Message::SaInUse { tunnel: sa.endpoints, generation }));
        }
    }

    pub fn soft_limit(&mut self, now: Nanos, tunnel: TunnelId, out: &mut Vec<Output>) {
        let Some(sa) = self.sas.get_mut(&tunnel) else { return };
        let due = sa.asked_rekey.is_none_or(|at| now.since(at) >= REKEY_ASK);
        // While disconnected nothing can be asked; the peer offers anyway as soon as it is back.
        if sa.connected && due {
            sa.asked_rekey = Some(now);
            out.push(sa.send(Message::SaRekey { tunnel: sa.endpoints }));
        }
    }

    /// An SA message of `peer`; the endpoints in it are from the peer's side.
    pub fn message(&mut self, now: Nanos, peer: &str, message: &Message, out: &mut Vec<Output>) {
        let (Message::SaOffer { tunnel, .. } | Message::SaInUse { tunnel, .. } | Message::SaRekey { tunnel }) =
            message
        else {
            return;
        };
        let ours = tunnel.turned();
        let Some((&id, sa)) = self
            .sas
            .iter_mut()
            .find(|(_, sa)| sa.peer == peer && sa.endpoints == ours && sa.connected && sa.made)
        else {
            return;
        };
        match message {
            Message::SaOffer { parameters: theirs, .. } if *theirs != sa.parameters => {
                out.push(Output::OfferRefused { tunnel: id, ours: sa.parameters, theirs: *theirs });
            }
            Message::SaOffer { generation, spis, .. } => sa.offered(id, *generation, spis, out),
            Message::SaInUse { generation, .. } => sa.used(now, *generation, &mut self.rng),
            Message::SaRekey { .. } if sa.inbound == Inbound::InUse => sa.begin(id, &mut self.spis, out),
            _ => {}
        }
    }

    pub fn poll(&mut self, now: Nanos, out: &mut Vec<Output>) {
        for (&id, sa) in &mut self.sas {
            while sa.removals.front().is_some_and(|(at, _)| *at <= now) {
                let (_, generation) = sa.removals.pop_front().expect("front exists");
                out.push(Output::RemoveInbound { tunnel: id, generation });
                let kept = sa.live.split_off(&(generation + 1));
                let gone = std::mem::replace(&mut sa.live, kept);
                gone.into_values().flatten().for_each(|spi| self.spis.release(spi));
            }
            if !sa.connected || !sa.made {
                continue;
            }
            match &mut sa.inbound {
                Inbound::InUse if now >= sa.rekey_at => sa.begin(id, &mut self.spis, out),
                Inbound::Offered { generation, spis, since } if now.since(*since) >= REOFFER => {
                    *since = now;
                    let (generation, spis) = (*generation, spis.clone());
                    out.push(sa.offer(generation, &spis));
                }
                _ => {}
            }
        }
    }
}

impl Sa {
    fn new(tunnel: &TunnelConfig, rekey_after: Nanos, parameters: SaParameters, senders: u16) -> Sa {
        Sa {
            peer: tunnel.peer.clone(),
            endpoints: tunnel.endpoints,
            rekey_after,
            parameters,
            senders,
            made: tunnel.endpoints.number == 0,
            connected: false,
            connection: 0,
            generation: 0,
            inbound: Inbound::None,
            in_use: None,
            rekey_at: Nanos::MAX,
            removals: VecDeque::new(),
            live: BTreeMap::new(),
            outbound: None,
            outbound_highest: 0,
            outbound_pending: VecDeque::new(),
            asked_rekey: None,
        }
    }

    fn send(&self, message: Message) -> Output {
        Output::Send { peer: self.peer.clone(), message }
    }

    fn offer(&self, generation: u64, spis: &[Spi]) -> Output {
        let (tunnel, parameters) = (self.endpoints, self.parameters);
        self.send(Message::SaOffer { tunnel, generation, spis: spis.to_vec(), parameters })
    }

    /// Starts a new inbound generation.
    fn begin(&mut self, id: TunnelId, allocator: &mut SpiAllocator, out: &mut Vec<Output>) {
        self.generation += 1;
        let generation = self.generation;
        let spis = allocator.allocate(self.senders);
        self.live.insert(generation, spis.clone());
        out.push(Output::InstallInbound { tunnel: id, generation, spis: spis.clone() });
        self.inbound = Inbound::Installing { generation, spis };
    }

    /// The peer wants to receive under `generation`.
    fn offered(&mut self, id: TunnelId, generation: u64, spis: &[Spi], out: &mut Vec<Output>) {
        if generation > self.outbound_highest && !spis.is_empty() {
            self.outbound_highest = generation;
            self.outbound_pending.push_back((self.connection, generation));
            out.push(Output::InstallOutbound { tunnel: id, generation, spis: spis.to_vec() });
        } else if self.outbound == Some(generation) && self.outbound_pending.is_empty() {
            // Our answer may have been lost.
            out.push(self.send(Message::SaInUse { tunnel: self.endpoints, generation }));
        }
    }

    /// The peer now sends under `generation`.
    fn used(&mut self, now: Nanos, generation: u64, rng: &mut SplitMix) {
        let offered = matches!(&self.inbound, Inbound::Offered { generation: g, .. } if *g == generation);
        if !offered {
            return;
        }
        self.inbound = Inbound::InUse;
        self.in_use = Some(generation);
        // Early by up to 5 %, so that two ends or many tunnels do not renew in step.
        self.rekey_at = now.plus(Nanos(self.rekey_after.0 - rng.below(self.rekey_after.0 / 20)));
        if generation > 1 {
            self.removals.push_back((now.plus(GRACE), generation - 1));
        }
    }
}

#[cfg(test)]
mod tests;
