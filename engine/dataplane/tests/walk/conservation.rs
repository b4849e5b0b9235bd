//! Whatever comes in: received + originated + handed in = transmitted + Σ dropped + held + handed out, after every
//! poll (see [`Engine::poll`]), and every buffer returns to its pool.

use crate::support::everything::{
    Act, WAYS_IN, everything, everything_draft, guarded_draft, keyed, perform, two_workers,
};
use crate::support::pooled::Pool;
use crate::support::{Draft, Ip, PORTS, VLAN, WAN, engine_mac, frame, host_mac};
use dataplane::id::{GroupId, TunnelId};
use dataplane::message::Command;
use dataplane::packet::Packet;
use dataplane::wire::MacAddr;
use dataplane::wire::checksum;
use proptest::prelude::*;
use std::sync::OnceLock;

/// Frames worth mutating: the corpus, and all that hosts and the far engine would send to engine 1.
fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/wire");
        let files =
            std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let mut seeds: Vec<_> = files.filter(|frame| frame.len() >= 14).collect();
        assert!(seeds.len() > 50, "the corpus is there");
        let pool = Pool::new(4000);
        let (mut a, mut b) = (everything(1, 2, &pool, 32), everything(2, 1, &pool, 32));
        keyed(&mut a, &mut b);
        for v6 in [false, true] {
            let (there, back) = (Ip::between(1, 2, v6), Ip::between(2, 1, v6));
            let hosts = [
                there.udp(1, 40),
                there.sized(2, 1500),
                there.ttl(1).udp(1, 40),
                there.syn(9000),
                Ip::between(1, 101, v6).sized(1, 1500),
                Ip::new(there.src, a.draft.interfaces[0].towards(there.src).unwrap()).echo(1, b"hello"),
            ];
            seeds.extend(hosts.map(|packet| frame(engine_mac(1, 0), host_mac(), None, &packet)));
            for flow in 0..40 {
                let packet = frame(engine_mac(2, 0), host_mac(), None, &back.udp(flow, 40));
                b.queues[0][0].rx.lock().unwrap().extend(pool.fill(&packet));
            }
            let tunnel =
                [0, 1, 2, 4, 5, 6].map(|tunnel| Command::Probe { tunnel: TunnelId(tunnel), sequence: 1 });
            tunnel.into_iter().for_each(|command| b.command(0, command));
            (0..3).for_each(|_| b.poll());
        }
        seeds.extend(b.queues[0][WAN.index()].tx.lock().unwrap().iter().map(|sent| sent.data().to_vec()));
        assert!(seeds.len() > 120, "{} seeds", seeds.len());
        seeds
    })
}

#[derive(Clone, Debug)]
struct Arrival {
    way: usize,
    worker: usize,
    frame: Vec<u8>,
}

/// A seed with some bytes changed and the IPv4 header checksum mended, or random bytes, to one of our addresses.
fn arrival() -> impl Strategy<Value = Arrival> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let seed = (0..seeds().len(), changes, any::<bool>(), 0..100u8).prop_map(|(n, changes, mend, cut)| {
        let mut frame = seeds()[n].clone();
        for (at, byte) in changes {
            let at = 12 + at.index(frame.len() - 12);
            frame[at] = byte;
        }
        if cut < 5 {
            frame.truncate(14 + frame.len() / 2);
        }
        if mend && frame.len() >= 34 && frame[12..15] == [8, 0, 0x45] {
            frame[24..26].fill(0);
            let check = checksum::checksum(&frame[14..34]);
            frame[24..26].copy_from_slice(&check.to_be_bytes());
        }
        frame
    });
    let noise = prop::collection::vec(any::<u8>(), 14..200);
    let frame = prop_oneof![8 => seed, 1 => noise];
    (frame, 0..WAYS_IN.len(), 0..2usize, 0..20u8).prop_map(|(mut frame, way, worker, group)| {
        // Most come to the interface's address, some to everyone.
        let mac = if group == 0 { MacAddr::BROADCAST } else { engine_mac(1, WAYS_IN[way].1) };
        if group != 1 {
            frame[..6].copy_from_slice(&mac.0);
        }
        if WAYS_IN[way].1 == 2 && frame[12..14] != [0x81, 0] {
            frame.splice(12..12, [0x81, 0, 0, VLAN as u8]);
        }
        frame.truncate(2048);
        Arrival { way, worker, frame }
    })
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Poll),
        2 => (0..2000u64).prop_map(Act::Wait),
        1 => any::<bool>().prop_map(Act::Lease),
        1 => Just(Act::Forget),
        2 => Just(Act::Know),
        1 => (0..7u16, any::<bool>()).prop_map(|(tunnel, up)| Act::Up(tunnel, up)),
        1 => (1..9u32).prop_map(Act::Shift),
        1 => Just(Act::Ask),
    ]
}

/// Runs it all and returns how many packets reached a wire.
fn live(draft: Draft, buffers: usize, room: usize, arrivals: &[Arrival], acts: &[Act]) -> u64 {
    let (pool, peers) = (Pool::new(buffers), Pool::new(100));
    let (mut engine, mut far) = (two_workers(draft, &pool, room), everything(2, 1, &peers, 32));
    keyed(&mut engine, &mut far);
    let mut acts = acts.iter().cycle();
    for burst in arrivals.chunks(16) {
        for Arrival { way, worker, frame } in burst {
            let queue = &engine.queues[*worker][WAYS_IN[*way].0.index()];
            queue.rx.lock().unwrap().extend(pool.fill(frame));
        }
        perform(&mut engine, *acts.next().unwrap());
        if room > 0 {
            // The wire takes what was sent.
            (0..PORTS).for_each(|port| engine.queues.iter().for_each(|q| q[port].tx.lock().unwrap().clear()));
        }
    }
    let sent = engine.control.iter().map(|control| control.counters.transmitted.get()).sum();
    drop(engine);
    assert_eq!(pool.free(), buffers, "buffers were lost");
    sent
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_vanishes(arrivals in prop::collection::vec(arrival(), 1..300),
        acts in prop::collection::vec(act(), 1..20),
        buffers in prop_oneof![Just(0usize), 1..40usize, Just(2000)],
        room in prop_oneof![Just(0usize), Just(1), Just(32)], guarded: bool)
    {
        let draft = if guarded { guarded_draft(1, 2) } else { everything_draft(1, 2) };
        live(draft, buffers, room, &arrivals, &acts);
    }
}

/// Every seed as it is, so that the property above is known to get anywhere: many of them leave again.
#[test]
fn the_seeds_get_through() {
    let arrivals: Vec<_> = seeds()
        .iter()
        .map(|seed| {
            let (far, mut frame) = (seed[..6] == engine_mac(1, 1).0, seed.clone());
            let way = usize::from(far);
            frame[..6].copy_from_slice(&engine_mac(1, way as u8).0);
            Arrival { way, worker: 0, frame }
        })
        .collect();
    let sent = live(everything_draft(1, 2), 2000, 32, &arrivals, &[Act::Poll]);
    assert!(sent > 80, "{sent} packets left");
}

/// A pool that runs dry while its engine fragments and answers: all of it is accounted for.
#[test]
fn an_empty_pool_drops_under_its_name() {
    let pool = Pool::new(1);
    let mut engine = everything(1, 2, &pool, 32);
    for packet in [Ip::between(1, 101, false).ttl(1).udp(1, 20), Ip::between(1, 2, false).sized(3, 1400)] {
        engine.draft.reweigh(GroupId(0), &[(TunnelId(0), 1)]);
        engine.publish();
        let frame = frame(engine_mac(1, 0), host_mac(), None, &packet);
        engine.queues[0][0].rx.lock().unwrap().extend(pool.fill(&frame));
        engine.poll();
    }
    let expected = [("pool_exhausted", 3), ("ttl_expired", 1)];
    assert_eq!(engine.drops(), expected.into());
    assert_eq!(pool.free(), 1);
}
