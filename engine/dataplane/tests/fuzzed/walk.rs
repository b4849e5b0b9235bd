//! The whole walk under a fuzzer: the input is a script of frames that arrive and of what control does meanwhile.
//! After every poll each packet is accounted for, what was sent has sound IP headers, and at the end every buffer is
//! back in its pool.
//!
//! An instruction is one byte. Below 0x80 a frame follows, behind its length in two bytes (little endian): bits 0–1
//! say by which way it arrives, bit 2 at which worker, bit 3 that checksums are to be mended, bit 4 that the
//! destination MAC stays as it is, bit 5 that it is an IP packet that the far engine sealed, and bit 6 of the first
//! instruction that the engine has rules, sessions and NAT, which live on. From 0x80 on, bits 0–2
//! say what control does and bits 3–6 with what; the workers then poll.

use crate::support::draft::wan_v4;
use crate::support::everything::{
    Act, Pooled, WAYS_IN, everything, everything_draft, guarded_draft, keyed, perform, two_workers,
};
use crate::support::pooled::Pool;
use crate::support::reference::checksum;
use crate::support::{Draft, PORTS, VLAN, WAN, engine_mac};
use dataplane::frame::Frame;
use dataplane::id::{PortId, Spi, TunnelId};
use dataplane::message::{Command, Inbound};
use dataplane::packet::Packet;
use dataplane::replay::WindowSize;
use dataplane::sa::{Algorithm, AwsLc, InboundSa, Limits, OutboundSa, SaKey};
use etherparse::{IpNumber, Ipv4Header, Ipv6Header};
use std::cell::RefCell;
use std::net::IpAddr;

/// More would not let libFuzzer run often enough.
const FRAMES: usize = 64;
const BUFFERS: usize = 200;
/// Scripts that one engine carries out before the next takes its place: making one takes longer than most scripts.
const SCRIPTS: u32 = 500;
/// The SA of what the far engine sealed, worker 0's.
const SPI: Spi = Spi(0x4000);
const KEYMAT: [u8; 20] = [7; 20];

/// An engine and how far it is.
struct World {
    guarded: bool,
    pool: Pool,
    engine: Pooled,
    scripts: u32,
}

thread_local! {
    static WORLDS: RefCell<[Option<World>; 2]> = const { RefCell::new([None, None]) };
}

/// Carries out the script. The engine before may have carried out others, but has forgotten what it can forget: time
/// has passed, what waited is gone, neighbours, tunnels, weights, lease, SAs and GRE sequences are as at first.
pub fn run(data: &[u8]) {
    let guarded = data.first().is_some_and(|op| op & 0x40 != 0);
    WORLDS.with_borrow_mut(|places| {
        let place = &mut places[usize::from(guarded)];
        let mut world = place.take().unwrap_or_else(|| World::new(guarded));
        world.scripts += 1;
        world.carry_out(data);
        if world.scripts < SCRIPTS {
            *place = Some(world);
        } else {
            drop(world.engine);
            assert_eq!(world.pool.free(), BUFFERS, "buffers were lost");
        }
    });
}

impl World {
    fn new(guarded: bool) -> World {
        let pool = Pool::new(BUFFERS);
        let mut engine = two_workers(World::draft(guarded), &pool, 32);
        keyed(&mut engine, &mut everything(2, 1, &pool, 32));
        World { guarded, pool, engine, scripts: 0 }
    }

    fn draft(guarded: bool) -> Draft {
        if guarded { guarded_draft(1, 2) } else { everything_draft(1, 2) }
    }

    fn carry_out(&mut self, data: &[u8]) {
        let engine = &mut self.engine;
        let mut outbound = sa(engine);
        let (mut script, mut frames, mut changed) = (data, 0, false);
        while let Some((&op, rest)) = script.split_first()
            && frames < FRAMES
        {
            script = rest;
            if op >= 0x80 {
                let act = act(op & 7, op >> 3 & 15);
                changed |= matches!(act, Act::Forget | Act::Up(..) | Act::Shift(_));
                perform(engine, act);
                sent(engine);
                continue;
            }
            let Some((length, rest)) = script.split_first_chunk() else { break };
            let length = usize::from(u16::from_le_bytes(*length)) % 2048;
            let (bytes, rest) = rest.split_at(length.min(rest.len()));
            (script, frames) = (rest, frames + 1);
            arrive(engine, &self.pool, &mut outbound, op, bytes);
        }
        if changed {
            let built = engine.draft.built.take();
            engine.draft = World::draft(self.guarded);
            engine.draft.built.replace(built);
            engine.publish();
        }
        // Fragments wait for the rest for 15 s. What waited for a neighbour in vain is reported to its sender, and that
        // report may wait in vain, too.
        perform(engine, Act::Lease(true));
        for wait in [0, 16_000, 4000, 4000, 4000] {
            perform(engine, Act::Wait(wait));
            // A poll sweeps some of the places of fragments.
            (0..64).for_each(|_| perform(engine, Act::Poll));
        }
        sent(engine);
        assert_eq!(engine.control.iter().map(|control| control.counters.held.get()).sum::<u64>(), 0);
        assert_eq!(
            self.pool.free(),
            BUFFERS,
            "buffers are missing: {:?} {:?}",
            engine.counters(),
            engine.drops()
        );
    }
}

/// The sealing end of a new SA on tunnel 1 that `engine` has the other end of.
fn sa(engine: &mut Pooled) -> OutboundSa {
    let key = || SaKey::new(&AwsLc, Algorithm::Aes128Gcm, &KEYMAT).expect("20 bytes");
    let inbound = InboundSa::new(SPI, key(), WindowSize::default(), true).expect("an SA");
    engine.command(0, Command::InstallInbound(Box::new(Inbound { tunnel: TunnelId(1), sa: inbound })));
    engine.command(0, Command::ResetSequence(TunnelId(0)));
    engine.poll();
    engine.events();
    OutboundSa::new(SPI, key(), Limits { soft: 1 << 20, hard: 1 << 21 }, true).expect("an SA")
}

fn act(kind: u8, argument: u8) -> Act {
    match kind {
        0 => Act::Poll,
        1 => Act::Wait(u64::from(argument) * 250),
        2 => Act::Lease(argument & 1 != 0),
        3 => Act::Forget,
        4 => Act::Know,
        5 => Act::Up(u16::from(argument >> 1) % 7, argument & 1 != 0),
        6 => Act::Shift(u32::from(argument) + 1),
        _ => Act::Ask,
    }
}

fn arrive(engine: &mut Pooled, pool: &Pool, outbound: &mut OutboundSa, op: u8, bytes: &[u8]) {
    let (mut way, worker) = (usize::from(op & 3), usize::from(op >> 2 & 1));
    let (mend, keep, seal) = (op & 8 != 0, op & 16 != 0, op & 32 != 0);
    let frame = if seal {
        way = 1;
        sealed(outbound, bytes, mend)
    } else {
        let mut frame = bytes.to_vec();
        if !keep && frame.len() >= 14 {
            frame[..6].copy_from_slice(&engine_mac(1, WAYS_IN[way].1).0);
        }
        if mend && frame.len() >= 14 {
            let packet = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
            mend_ip(frame.get_mut(packet..).unwrap_or_default(), 2);
        }
        if WAYS_IN[way].1 == 2 && frame.len() >= 14 && frame[12..14] != [0x81, 0] {
            frame.splice(12..12, [0x81, 0, 0, VLAN as u8]);
        }
        frame
    };
    let port = WAYS_IN[way].0;
    let queue = &engine.queues[worker][port.index()];
    queue.rx.lock().unwrap().extend(pool.fill(&frame[..frame.len().min(2048)]));
}

/// `packet` in ESP from engine 2, as IPv6 if it says so and as IPv4 otherwise.
fn sealed(outbound: &mut OutboundSa, packet: &[u8], mend: bool) -> Vec<u8> {
    let mut packet = packet[..packet.len().min(1600)].to_vec();
    if mend {
        mend_ip(&mut packet, 1);
    }
    let protocol = if packet.first().is_some_and(|byte| byte >> 4 == 6) { 41 } else { 4 };
    let mut esp = Frame::new(&packet);
    outbound.seal(&mut esp, protocol).expect("there is room");
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (wan_v4(2), wan_v4(1)) else { unreachable!("IPv4 both") };
    let header = Ipv4Header::new(esp.len() as u16, 64, IpNumber(50), src.octets(), dst.octets());
    let link = [&engine_mac(1, 1).0[..], &engine_mac(2, 1).0, &[8, 0]].concat();
    [&link[..], &header.expect("short enough").to_bytes(), esp.data()].concat()
}

/// Writes the checksums that this packet should have, and those of what GRE carries: random bytes seldom do.
fn mend_ip(packet: &mut [u8], depth: usize) {
    let (protocol, at) = match packet.first().map(|byte| byte >> 4) {
        Some(4) if packet.len() >= 20 => {
            let length = (usize::from(packet[0] & 15) * 4).clamp(20, packet.len());
            packet[10..12].fill(0);
            let sum = checksum(&[&packet[..length]]);
            packet[10..12].copy_from_slice(&sum);
            (packet[9], length)
        }
        Some(6) if packet.len() >= 40 => (packet[6], 40),
        _ => return,
    };
    let end = match packet[0] >> 4 {
        4 => usize::from(u16::from_be_bytes([packet[2], packet[3]])),
        _ => 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])),
    };
    let (header, upper) = packet.split_at_mut(at);
    let upper_length = end.saturating_sub(at).min(upper.len());
    let upper = &mut upper[..upper_length];
    match protocol {
        1 if upper.len() >= 8 => {
            upper[2..4].fill(0);
            let sum = checksum(&[upper]);
            upper[2..4].copy_from_slice(&sum);
        }
        58 if upper.len() >= 8 && header.len() == 40 => {
            upper[2..4].fill(0);
            let length = (upper.len() as u32).to_be_bytes();
            let sum = checksum(&[&header[8..40], &length, &[0, 0, 0, 58], upper]);
            upper[2..4].copy_from_slice(&sum);
        }
        47 if depth > 0 && upper.len() >= 4 => {
            let flags = upper[0];
            let length = 4 + 4 * [0x80, 0x20, 0x10].iter().filter(|bit| flags & **bit != 0).count();
            mend_ip(upper.get_mut(length..).unwrap_or_default(), depth - 1);
        }
        _ => {}
    }
}

/// Empties the wires; every IP packet on them has a header that etherparse takes, with right lengths and checksum.
fn sent(engine: &Pooled) {
    for queues in &engine.queues {
        for port in 0..PORTS {
            for frame in queues[PortId(port as u16).index()].tx.lock().unwrap().drain(..) {
                sound(frame.data(), PortId(port as u16));
            }
        }
    }
}

fn sound(frame: &[u8], port: PortId) {
    assert!(frame.len() >= 14, "port {port:?}: a frame without a link header");
    assert_eq!(frame[6] & 1, 0, "port {port:?}: sent in the name of a group");
    let at = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
    let packet = &frame[at..];
    match frame[at - 2..at] {
        [8, 0] => {
            let (header, rest) = Ipv4Header::from_slice(packet).expect("a sound IPv4 header");
            assert_eq!(checksum(&[&packet[..header.header_len()]]), [0, 0], "port {port:?}");
            assert_eq!(usize::from(header.total_len), header.header_len() + rest.len(), "port {port:?}");
            assert!(header.time_to_live > 0 && packet.len() <= 1500, "port {port:?}: {header:?}");
        }
        [0x86, 0xdd] => {
            let (header, rest) = Ipv6Header::from_slice(packet).expect("a sound IPv6 header");
            assert_eq!(usize::from(header.payload_length), rest.len(), "port {port:?}");
            assert!(header.hop_limit > 0 && packet.len() <= 1500, "port {port:?}: {header:?}");
        }
        [8, 6] => assert!(port != WAN || packet.len() >= 28),
        ref other => panic!("port {port:?}: sent with EtherType {other:x?}"),
    }
}
