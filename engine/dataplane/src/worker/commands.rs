//! What control tells a worker to do.

use super::{Clock, Worker};
use crate::context::{MAX_INBOUND, Watched};
use crate::id::{Nanos, TunnelId};
use crate::links::EVENTS;
use crate::message::{Command, Event, Inbound, Retired};
use crate::packet::{PacketPool, Port};
use crate::sa::OutboundSa;
use crate::stage::{neighbor, probe, vrrp};
use crate::tunnel::esp_udp;

/// Of one SA's progress.
const BETWEEN_REPORTS: Nanos = Nanos::from_millis(1);

impl<Q: Port, A: PacketPool<Packet = Q::Packet>, C: Clock> Worker<Q, A, C> {
    pub(super) fn carry_out(&mut self, command: Command) {
        match command {
            Command::InstallInbound(inbound) => self.install_inbound(inbound),
            Command::InstallOutbound(tunnel, sa) => self.install_outbound(tunnel, sa),
            Command::RemoveInbound(spi) => {
                self.context.sas.watched.retain(|watched| watched.spi != spi);
                if let Some(old) = self.context.sas.inbound.remove(&spi) {
                    self.context.report(Event::Retired(Retired::Inbound(old)));
                }
            }
            Command::RemoveOutbound(tunnel) => {
                if let Some(old) = self.context.sas.outbound.get_mut(tunnel.index()).and_then(Option::take) {
                    self.context.report(Event::Retired(Retired::Outbound(old)));
                }
            }
            Command::Watch(spi) => {
                // More than can be watched are none of the worker's: control has checked how many there are.
                let _ = self.context.sas.watched.try_push(Watched { spi, reported: (0, Nanos(0)) });
            }
            Command::ResetSequence(tunnel) => {
                if let Some(sequence) = self.context.sequences.get_mut(tunnel.index()) {
                    sequence.gre_rx = None;
                }
            }
            Command::Probe { tunnel, sequence } => probe::send(&mut self.context, tunnel, sequence),
            Command::Keepalive(tunnel) => esp_udp::keepalive(&mut self.context, tunnel),
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

    /// How far watched SAs have come: at once for one that is slow, every millisecond for the others.
    #[cold]
    pub(super) fn report_accepted(&mut self, now: Nanos) {
        let context = &mut self.context;
        for Watched { spi, reported } in &mut context.sas.watched {
            let top = context.sas.inbound.get(spi).map_or(0, |inbound| inbound.sa.top());
            if top > reported.0
                && now.since(reported.1) >= BETWEEN_REPORTS
                && context.events.free() > EVENTS / 2
            {
                *reported = (top, now);
                let _ = context.events.push(Event::Accepted(*spi, top));
            }
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
    }
}
