//! Keys and SAs: the shell's part. Keys follow from the connection, as from its TLS exporter.

use super::tape::Recorder;
use crate::rng::Rng;
use crate::sabotage::Sabotage;
use control::installs::Installs;
use control::message::Endpoints;
use dataplane::id::{Spi, TunnelId, WorkerId};
use dataplane::links::ControlLinks;
use dataplane::message::{Command, Inbound};
use dataplane::replay::WindowSize;
use dataplane::sa::{Algorithm, InboundSa, Limits, OutboundSa, SaKey};
use std::collections::BTreeMap;
use std::net::IpAddr;

const ALGORITHM: Algorithm = Algorithm::Aes256Gcm;

/// The SAs of one direction of one generation.
#[derive(Clone, Debug)]
pub struct Order {
    /// The tunnel.
    pub tunnel: TunnelId,
    /// Outer addresses, from this side.
    pub endpoints: Endpoints,
    /// The connection to the peer; its number stands for its secret.
    pub connection: u64,
    /// The generation.
    pub generation: u64,
    /// Its SPIs, one a worker of the sender.
    pub spis: Vec<Spi>,
}

/// SAs on their way to the workers, and those in use.
#[derive(Default)]
pub struct Sas {
    recorder: Recorder,
    sabotage: Option<Sabotage>,
    /// Those that not all workers have yet.
    pub installs: Installs,
    inbound: BTreeMap<(TunnelId, u64), Order>,
}

impl Sas {
    /// None yet.
    pub fn new(recorder: Recorder, sabotage: Option<Sabotage>) -> Sas {
        Sas { recorder, sabotage, ..Sas::default() }
    }

    /// Installs inbound SAs, each on the worker that its SPI names.
    pub fn install_inbound(&mut self, order: Order, links: &mut [ControlLinks]) {
        self.installs.begin_inbound(order.tunnel, order.generation, &order.spis);
        self.put_inbound(&order, links);
        self.inbound.insert((order.tunnel, order.generation), order);
    }

    fn put_inbound(&self, order: &Order, links: &mut [ControlLinks]) {
        for &spi in &order.spis {
            let key = self.key(order, spi, order.endpoints.local);
            let sa = InboundSa::new(spi, key, WindowSize::default(), true).expect("an SPI that may be");
            let inbound = Box::new(Inbound { tunnel: order.tunnel, sa });
            let owner = spi.0 as usize % links.len();
            // A full ring: the worker does not poll, and the controller gives up on the offer.
            let _ = links[owner].commands.push(Command::InstallInbound(inbound));
        }
    }

    /// Every inbound SA anew, with an empty window. No engine does this.
    pub fn forget_windows(&self, links: &mut [ControlLinks]) {
        self.inbound.values().for_each(|order| self.put_inbound(order, links));
    }

    /// Switches every worker's outbound SA: worker i uses SPI i.
    pub fn install_outbound(&mut self, order: &Order, links: &mut [ControlLinks]) {
        let limits = Limits { soft: 1 << 20, hard: 1 << 21 };
        let mut awaited = Vec::new();
        for (worker, &spi) in links.iter_mut().zip(&order.spis) {
            let key = self.key(order, spi, order.endpoints.remote);
            let sa = OutboundSa::new(spi, key, limits, true).expect("an SPI that may be");
            let _ = worker.commands.push(Command::InstallOutbound(order.tunnel, Box::new(sa)));
            awaited.push((WorkerId(awaited.len() as u16), spi));
        }
        self.installs.begin_outbound(order.tunnel, order.generation, awaited);
    }

    /// Removes the inbound SAs of `generation` and older.
    pub fn remove_inbound(&mut self, tunnel: TunnelId, generation: u64, links: &mut [ControlLinks]) {
        let old: Vec<_> =
            self.inbound.range((tunnel, 0)..=(tunnel, generation)).map(|(key, _)| *key).collect();
        for spi in old.iter().filter_map(|key| self.inbound.remove(key)).flat_map(|order| order.spis) {
            let owner = spi.0 as usize % links.len();
            let _ = links[owner].commands.push(Command::RemoveInbound(spi));
        }
    }

    /// The key of one SA: of the connection's secret and the SA's name, which both ends know.
    fn key(&self, order: &Order, spi: Spi, receiver: IpAddr) -> SaKey {
        let mut name = Rng::new(order.connection);
        let mut absorb = |part: u64| name = Rng::new(name.next_u64() ^ part);
        let IpAddr::V4(receiver) = receiver else { unreachable!("the topology is IPv4") };
        absorb(receiver.to_bits().into());
        absorb(order.generation);
        if self.sabotage != Some(Sabotage::SharedKey) {
            absorb(spi.0.into());
        }
        let (IpAddr::V4(local), IpAddr::V4(remote)) = (order.endpoints.local, order.endpoints.remote) else {
            unreachable!("the topology is IPv4")
        };
        absorb(u64::from(local.to_bits()) ^ u64::from(remote.to_bits()));
        let keymat: Vec<u8> = (0..5).flat_map(|_| name.next_u64().to_be_bytes()).collect();
        SaKey::new(&self.recorder, ALGORITHM, &keymat[..ALGORITHM.keymat_length()])
            .expect("the length is right")
    }
}
