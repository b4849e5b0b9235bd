//! What a worker leaves to a process of the same engine that goes on in its place: to be taken once it polls no more, and given
//! to the worker there before its first poll.

use super::{Clock, Worker};
use crate::bfd;
use crate::context::TunnelSequence;
use crate::id::{Nanos, Spi, TunnelId};
use crate::message::Inbound;
use crate::packet::{PacketPool, Port};
use crate::replay::WindowState;
use crate::sa::OutboundSa;
use crate::shadow::FlowState;
use crate::stage::access::Sessions;

/// How far an inbound SA has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundState {
    /// Its tunnel.
    pub tunnel: TunnelId,
    /// Its SPI.
    pub spi: Spi,
    /// What it has accepted.
    pub window: WindowState,
}

/// How far an outbound SA has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboundState {
    /// Its tunnel.
    pub tunnel: TunnelId,
    /// Its SPI.
    pub spi: Spi,
    /// The last sequence number that it has used.
    pub sent: u64,
}

/// See the module. Sessions are taken by themselves: they may be a million.
#[derive(Clone, Debug, Default)]
pub struct WorkerState {
    /// Inbound SAs.
    pub inbound: Vec<InboundState>,
    /// Outbound SAs, but for those of a [`Partition`](crate::sa::Partition): a new process takes the next one.
    pub outbound: Vec<OutboundState>,
    /// By tunnel.
    pub sequences: Vec<TunnelSequence>,
    /// BFD sessions, by their place.
    pub bfd: Vec<bfd::Resume>,
}

impl<Q: Port, A: PacketPool<Packet = Q::Packet>, C: Clock> Worker<Q, A, C> {
    /// Its queues, by port.
    pub fn queues(&mut self) -> &mut [Q] {
        &mut self.ports
    }

    /// Sends what waits for its tunnel's tokens without them: whoever follows does not know of it.
    pub fn release_waiting(&mut self) {
        self.release_from_shapers(true);
        self.finish(0);
    }

    /// Packets that still wait for something.
    pub fn waiting(&self) -> u64 {
        self.context.counters.held.get()
    }

    /// How far it has come.
    pub fn state(&self) -> WorkerState {
        let (sas, now) = (&self.context.sas, self.clock.now());
        let inbound = sas.inbound.values().map(|inbound| InboundState {
            tunnel: inbound.tunnel,
            spi: inbound.sa.spi(),
            window: inbound.sa.window_state(),
        });
        let outbound = (0..).map(TunnelId).zip(&sas.outbound).filter_map(|(tunnel, sa)| {
            let sa = sa.as_ref().filter(|sa| sa.is_whole())?;
            Some(OutboundState { tunnel, spi: sa.spi(), sent: sa.sent() })
        });
        WorkerState {
            inbound: inbound.collect(),
            outbound: outbound.collect(),
            sequences: self.context.sequences.to_vec(),
            bfd: self.context.bfd.iter().map(|session| session.resume_with(now)).collect(),
        }
    }

    /// Its own sessions.
    pub fn sessions(&self) -> impl Iterator<Item = FlowState> + '_ {
        let now = self.clock.now();
        self.context.sessions.iter().flat_map(move |sessions| Sessions::own(sessions, now))
    }

    /// Before its first poll, or the first one after it was parked.
    pub fn resume(&mut self) {
        let now = self.clock.now();
        self.context.lease.resume(now);
        (self.last_poll, self.last_packet) = (now, now);
    }

    /// Goes on with an inbound SA.
    pub fn resume_inbound(&mut self, inbound: Box<Inbound>) {
        self.context.sas.inbound.insert(inbound.sa.spi(), inbound);
    }

    /// Goes on with an outbound SA.
    pub fn resume_outbound(&mut self, tunnel: TunnelId, sa: Box<OutboundSa>) {
        self.context.sas.outbound[tunnel.index()] = Some(sa);
    }

    /// Goes on with a tunnel's numbers.
    pub fn resume_sequence(&mut self, tunnel: TunnelId, sequence: TunnelSequence) {
        self.context.sequences[tunnel.index()] = sequence;
    }

    /// Goes on with a BFD session, by its place.
    pub fn resume_bfd(&mut self, place: usize, from: bfd::Resume) {
        let now = self.clock.now();
        if let Some(session) = self.context.bfd.get_mut(place) {
            *session = bfd::Session::resumed(*session.parameters(), from, now);
        }
    }

    /// Goes on with a session of the table. False if there is no room for it.
    pub fn resume_session(&mut self, state: &FlowState) -> bool {
        let (now, counters): (Nanos, _) = (self.clock.now(), self.context.counters.clone());
        let sessions = self.context.sessions.as_mut();
        sessions.is_some_and(|sessions| sessions.resume(state, now, &counters))
    }
}
