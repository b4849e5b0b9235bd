//! The gateway of another make that site a has one SA pair with: it seals and opens as an RFC has it, knows of no engines, and
//! cannot rekey. And an attacker beside it, who sends again what it has sent.

use crate::hosts::{PacketId, framed, packet_between};
use crate::plane::site_sa::{FROM_PARTNER, PARAMETERS, TO_PARTNER, keymat};
use crate::plane::tape::Recorder;
use crate::rng::Rng;
use crate::topology::{GATEWAY, HOST_A, HOST_P, PARTNER, PARTNER_MAC, engine_mac};
use dataplane::frame::Frame;
use dataplane::id::Nanos;
use dataplane::packet::Packet;
use dataplane::replay::WindowSize;
use dataplane::sa::{InboundSa, Limits, OutboundSa, SaKey};
use dataplane::wire::Protocol;
use dataplane::wire::TrafficClass;
use dataplane::wire::ipv4::{Fragmentation, Ipv4Fields};

/// The flow of packets from site a's host to the one behind the partner.
pub const OUT: u32 = 64;
/// The flow back.
pub const BACK: u32 = 65;

const ETHERNET: usize = 14;
const IP: usize = 20;
/// Frames that the attacker keeps.
const KEPT: usize = 4096;

/// The sequence number that the partner sent a packet under: it is the number of the packet, counted from 1.
pub fn number_of(packet: PacketId) -> Option<u64> {
    (packet.flow == BACK).then_some(u64::from(packet.number) + 1)
}

/// See the module.
pub struct Partner {
    sending: OutboundSa,
    receiving: InboundSa,
    /// Packets sent by either host, by flow.
    pub sent: [u32; 2],
    /// Packets that came to the host behind the partner, and that its window refused.
    pub received: u64,
    /// See `received`.
    pub refused: u64,
    /// Time between two packets.
    pub spacing: Nanos,
    due: Nanos,
    captured: Vec<Vec<u8>>,
    /// Chance of an attack in a millisecond.
    pub attacks: f64,
}

impl Partner {
    /// One that has not sent yet.
    pub fn new() -> Partner {
        let key = |spi| {
            SaKey::new(&Recorder::default(), PARAMETERS.algorithm, &keymat(spi)).expect("the length is right")
        };
        let limits = Limits { soft: 1 << 40, hard: 1 << 41 };
        let esn = PARAMETERS.esn;
        Partner {
            sending: OutboundSa::new(FROM_PARTNER, key(FROM_PARTNER), limits, esn)
                .expect("an SPI that may be"),
            receiving: InboundSa::new(TO_PARTNER, key(TO_PARTNER), WindowSize::default(), esn)
                .expect("an SPI that may be"),
            sent: [0; 2],
            received: 0,
            refused: 0,
            spacing: Nanos::from_millis(1000),
            due: Nanos(0),
            captured: Vec::new(),
            attacks: 0.02,
        }
    }

    /// What is sent by now, and to which engine: the partner's frames and what site a's host sends to the one behind it, to the
    /// engine that has the gateway; the attacker's to either.
    pub fn send(
        &mut self,
        now: Nanos,
        gateway: &'static str,
        talking: bool,
        rng: &mut Rng,
    ) -> Vec<(&'static str, Vec<u8>)> {
        let mut frames = Vec::new();
        if talking && now >= self.due {
            self.due = now.plus(Nanos(self.spacing.0 / 2 + rng.below(self.spacing.0)));
            let there = PacketId { flow: OUT, number: self.sent[0] };
            frames.push((gateway, packet_between(there, HOST_A, HOST_P)));
            let back = PacketId { flow: BACK, number: self.sent[1] };
            let outer = self.seal(back);
            frames.push((gateway, outer.clone()));
            self.sent.iter_mut().for_each(|sent| *sent += 1);
            if self.captured.len() < KEPT {
                self.captured.push(outer);
            } else {
                let place = rng.below(KEPT as u64) as usize;
                self.captured[place] = outer;
            }
        }
        if !self.captured.is_empty() && rng.chance(self.attacks) {
            // The newest ones are those that a new owner knows least of.
            let among = if rng.chance(0.7) { 12 } else { KEPT };
            let back = rng.below(self.captured.len().min(among) as u64);
            let again = &self.captured[self.captured.len() - 1 - back as usize];
            frames.push((*rng.pick(&["a1", "a2"]), again.clone()));
        }
        frames.into_iter().map(|(to, packet)| (to, framed(engine_mac(to, 0), &packet))).collect()
    }

    fn seal(&mut self, packet: PacketId) -> Vec<u8> {
        let mut inner = Frame::new(&packet_between(packet, HOST_P, HOST_A));
        self.sending.seal(&mut inner, Protocol::IPV4.0).expect("room in the frame");
        let mut outer = vec![0; IP + inner.len()];
        let fields = Ipv4Fields {
            traffic_class: TrafficClass(0),
            payload_length: inner.len() as u16,
            id: 0,
            fragmentation: Fragmentation { dont_fragment: true, more: false, offset: 0 },
            ttl: 64,
            protocol: Protocol::ESP,
            src: PARTNER,
            dst: GATEWAY,
        };
        let (header, payload) = outer.split_at_mut(IP);
        fields.write(header).expect("room for an IPv4 header");
        payload.copy_from_slice(inner.data());
        outer
    }

    /// Whether a frame is for it.
    pub fn is_for(&self, frame: &[u8]) -> bool {
        frame.get(..6) == Some(&PARTNER_MAC.0) && frame.get(12..14) == Some(&[0x08, 0x00])
    }

    /// A frame from site a's engines. The packet of site a's host in it, if it is one and new.
    pub fn hear(&mut self, frame: &[u8]) -> Option<PacketId> {
        let mut packet = Frame::new(frame.get(ETHERNET + IP..)?);
        match self.receiving.open(&mut packet) {
            Ok(_) => {
                self.received += 1;
                PacketId::of(packet.data())
            }
            Err(_) => {
                self.refused += 1;
                None
            }
        }
    }
}

impl Default for Partner {
    fn default() -> Partner {
        Partner::new()
    }
}
