//! What control tells a worker to do.

use super::{Clock, Worker};
use crate::context::{Context, MAX_INBOUND, SharedSa};
use crate::id::{Nanos, TunnelId};
use crate::links::EVENTS;
use crate::message::{Command, Event, Inbound, Retired};
use crate::packet::{PacketPool, Port};
use crate::sa::OutboundSa;
use crate::snapshot::Encapsulation;
use crate::stage::{neighbor, probe, vrrp};
use crate::tunnel::{esp_udp, wireguard};
use crate::wireguard::{Role, Session};
use sync::ring::Producer;

/// Commands taken in one poll.
const COMMANDS: usize = 32;
/// Between two reports of one SA's progress.
const BETWEEN_REPORTS: Nanos = Nanos::from_millis(1);

impl<Q: Port, A: PacketPool<Packet = Q::Packet>, C: Clock> Worker<Q, A, C> {
    /// Some of what waits.
    #[inline]
    pub(super) fn take_commands(&mut self) {
        for _ in 0..COMMANDS {
            let Some(command) = self.commands.pop() else { break };
            self.carry_out(command);
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::InstallInbound(inbound) => self.install_inbound(inbound),
            Command::InstallOutbound(tunnel, sa) => self.install_outbound(tunnel, sa),
            Command::Limit(spi, limit) => self.limit(spi, limit),
            Command::RemoveInbound(spi) => {
                self.give_up_accepting(spi);
                if let Some(old) = self.context.sas.inbound.remove(&spi) {
                    self.context.report(Event::Retired(Retired::Inbound(old)));
                }
            }
            Command::RemoveOutbound(tunnel) => {
                if let Some(old) = self.context.sas.outbound.get_mut(tunnel.index()).and_then(Option::take) {
                    self.context.report(Event::Retired(Retired::Outbound(old)));
                }
            }
            Command::Share { spi, tunnel } => {
                // More than there is room for are none of the worker's: control has checked how many there are.
                let _ = self.context.sas.shared.try_push(SharedSa { spi, tunnel, reported: (0, Nanos(0)) });
            }
            Command::ResetSequence(tunnel) => {
                if let Some(sequence) = self.context.sequences.get_mut(tunnel.index()) {
                    sequence.gre_rx = None;
                }
            }
            Command::Probe { tunnel, sequence } => probe::send(&mut self.context, tunnel, sequence),
            Command::Keepalive(tunnel) => self.keepalive(tunnel),
            Command::InstallSession(session, role) => self.install_session(session, role),
            Command::RemoveSessions(tunnel) => {
                let Context { sas, events, .. } = &mut self.context;
                let keypairs = sas.keypairs.get_mut(tunnel.index());
                keypairs.into_iter().for_each(|keypairs| keypairs.clear(|old| retire(events, old)));
            }
            Command::Send(datagram) => wireguard::send(&mut self.context, datagram),
            Command::Solicit { interface, ip, unicast } => {
                neighbor::solicit(&mut self.context, interface, ip, unicast);
            }
            Command::Announce { interface, ip } => neighbor::announce(&mut self.context, interface, ip),
            Command::Advertise { interface, from, priority, interval_cs } => {
                vrrp::advertise(&mut self.context, interface, (from, priority, interval_cs));
            }
            Command::Observe(observer) => self.observe(Some(observer)),
            Command::Unobserve => self.observe(None),
            Command::Mirror(mirror) => self.mirror(Some(mirror)),
            Command::Unmirror => self.mirror(None),
        }
    }

    /// How far what comes under shared SAs has come: at once for one that is slow, every millisecond for the others.
    #[cold]
    pub(super) fn report_reached(&mut self, now: Nanos) {
        let context = &mut self.context;
        for SharedSa { spi, reported, .. } in &mut context.sas.shared {
            let top = context.sas.inbound.get(spi).map_or(0, |inbound| inbound.sa.reached());
            if top > reported.0
                && now.since(reported.1) >= BETWEEN_REPORTS
                && context.events.free() > EVENTS / 2
            {
                *reported = (top, now);
                let _ = context.events.push(Event::Reached(*spi, top));
            }
        }
    }

    fn keepalive(&mut self, tunnel: TunnelId) {
        match self.context.snapshot.tunnels.get(tunnel.index()).map(|tunnel| tunnel.encapsulation) {
            Some(Encapsulation::WireGuard(_)) => wireguard::keepalive(&mut self.context, tunnel),
            Some(Encapsulation::EspUdp(_)) => esp_udp::keepalive(&mut self.context, tunnel),
            _ => {}
        }
    }

    fn install_session(&mut self, session: Box<Session>, role: Role) {
        let Context { sas, events, now, .. } = &mut self.context;
        match sas.keypairs.get_mut(session.local().tunnel().index()) {
            Some(keypairs) => keypairs.install(session, role, *now, |old| retire(events, old)),
            None => retire(events, session),
        }
    }

    fn install_inbound(&mut self, inbound: Box<Inbound>) {
        let spi = inbound.sa.spi();
        let known = inbound.tunnel.index() < self.context.sas.outbound.len();
        if !known || self.context.sas.inbound.len() >= MAX_INBOUND {
            self.context.report(Event::Retired(Retired::Inbound(inbound)));
            return;
        }
        if let Some(old) = self.context.sas.inbound.insert(spi, inbound) {
            self.context.report(Event::Retired(Retired::Inbound(old)));
        }
        self.context.report(Event::InboundInstalled(spi));
        let mut shared = self.context.sas.shared.iter_mut();
        if let Some(shared) = shared.find(|shared| shared.spi == spi) {
            shared.reported = (0, Nanos(0));
            self.open_waiting(spi);
        }
    }

    fn install_outbound(&mut self, tunnel: TunnelId, sa: Box<OutboundSa>) {
        let spi = sa.spi();
        let Some(place) = self.context.sas.outbound.get_mut(tunnel.index()) else {
            self.context.report(Event::Retired(Retired::Outbound(sa)));
            return;
        };
        if let Some(old) = place.replace(sa) {
            self.context.report(Event::Retired(Retired::Outbound(old)));
        }
        self.context.report(Event::OutboundInstalled(tunnel, spi));
        self.seal_waiting(tunnel);
    }
}

/// Keys out of use, for control to erase.
fn retire(events: &mut Producer<Event>, session: Box<Session>) {
    let _ = events.push(Event::Retired(Retired::Session(session)));
}
