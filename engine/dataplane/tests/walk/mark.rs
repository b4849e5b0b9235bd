//! Buckets that never pause move behind a MARK, and what was handed over goes before what comes next.

use crate::support::draft::LINK;
use crate::support::{Draft, Engine, Ip, LAN, WAN, checked, engine_mac, frame, host_mac};
use dataplane::ecmp::MoveKind;
use dataplane::ecmp::mark::WAITING_MAX;
use dataplane::id::{GroupId, Nanos, TunnelId};
use dataplane::snapshot::Encapsulation;

const GRE: Encapsulation = Encapsulation::Gre { key: None, sequence: false };
const TO_LINK: [(TunnelId, u32); 2] = [(TunnelId(0), 0), (TunnelId(1), 1)];
const TO_OWN: [(TunnelId, u32); 2] = [(TunnelId(0), 1), (TunnelId(1), 0)];

/// An engine of site 1 with a tunnel to site 2 and the link to the site's other engine.
fn engine(id: u8, other: u8, weights: &[(TunnelId, u32)]) -> Engine {
    let mut draft = Draft::new(id, 1);
    let tunnel = draft.tunnel(GRE, false, 2);
    draft.tunnel(Encapsulation::Direct, false, other);
    draft.group(2, weights, &[tunnel]);
    Engine::new(draft)
}

/// The far site's engine, with a tunnel from either.
fn far() -> Engine {
    let mut draft = Draft::new(2, 2);
    let tunnels = [draft.tunnel(GRE, false, 1), draft.tunnel(GRE, false, 3)];
    draft.group(1, &[(tunnels[0], 1), (tunnels[1], 1)], &tunnels);
    Engine::new(draft)
}

/// Packet `n` of the one flow, told by its length; to the engine with this MAC.
fn numbered(engine: u8, n: u16) -> Vec<u8> {
    frame(engine_mac(engine, 0), host_mac(), None, &Ip::between(1, 2, false).udp(7, 20 + usize::from(n)))
}

/// The numbers of packets in these frames; without GRE's.
fn numbers(frames: &[Vec<u8>]) -> Vec<u16> {
    let payload = |frame: &Vec<u8>| {
        let packet = checked(frame);
        let outer = if packet[9] == 47 { 24 } else { 0 };
        (packet.len() - outer - 28 - 20) as u16
    };
    frames.iter().map(payload).collect()
}

/// A busy flow is told to move by now, with paths that take up to `gap`.
fn must_move(engine: &mut Engine, weights: &[(TunnelId, u32)], gap: Nanos) {
    engine.draft.reweigh(GroupId(0), weights);
    let group = &mut engine.draft.groups[0];
    (group.flowlet_gap, group.move_deadline) = (gap, Nanos(0));
    engine.publish();
}

fn marks(engine: &Engine) -> [u64; 4] {
    let marks = &engine.counters().marks;
    [
        marks.sent.get(),
        marks.answered.get(),
        marks.packets.get(),
        engine.counters().moved(MoveKind::Marked).get(),
    ]
}

#[test]
fn a_flow_that_never_pauses_moves_when_the_answer_is_home() {
    let (mut a, mut b) = (engine(1, 3, &TO_OWN), far());
    assert_eq!(numbers(&a.pass(LAN, &numbered(1, 0), WAN)), [0]);
    must_move(&mut a, &TO_LINK, Nanos::from_millis(20));
    let mark = a.pass(LAN, &numbered(1, 1), WAN);
    assert_eq!((mark.len(), a.take(LINK).len()), (1, 0), "the MARK, and no packet");
    a.wait(5);
    assert!(a.pass(LAN, &numbered(1, 2), WAN).is_empty() && a.take(LINK).is_empty());
    assert_eq!(a.counters().held.get(), 2);
    let answer = b.pass(WAN, &mark[0], WAN);
    a.put(0, WAN, &answer[0]);
    // In the same burst as the answer: still behind those that wait.
    assert!(a.pass(LAN, &numbered(1, 3), LINK).is_empty());
    assert_eq!(numbers(&a.pass(LAN, &numbered(1, 4), LINK)), [1, 2, 3, 4]);
    assert_eq!(marks(&a), [1, 1, 3, 1]);
    assert_eq!(a.counters().marks.wait_ns_max.get(), 5_000_000);
    assert!(a.take(WAN).is_empty() && a.counters().held.get() == 0);
    // A MARK is none of the tunnel's probes, and its answer is no news for control.
    assert!(a.events().is_empty(), "control hears nothing of MARKs");
}

#[test]
fn without_an_answer_it_moves_when_the_old_path_is_surely_empty() {
    for (weights, back, port) in [(TO_OWN, TO_LINK, LINK), (TO_LINK, TO_OWN, WAN)] {
        let mut a = engine(1, 3, &weights);
        a.put(0, LAN, &numbered(1, 0));
        a.poll();
        must_move(&mut a, &back, Nanos::from_millis(20));
        a.put(0, LAN, &numbered(1, 1));
        a.poll();
        drop([WAN, LINK].map(|port| a.take(port)));
        // Down the site link no MARK goes: the other engine would answer for a path that does not end there.
        let (mark, bound) = if port == LINK { (1, 40) } else { (0, 20) };
        a.wait(bound - 1);
        a.poll();
        assert!(a.take(port).is_empty());
        a.wait(1);
        a.poll();
        assert_eq!((numbers(&a.take(port)), marks(&a)), (vec![1], [mark, 0, 1, 1]));
    }
}

/// More than there is room for: in order by the old path, and nothing is lost.
#[test]
fn what_cannot_wait_goes_on_by_the_old_path() {
    let mut a = engine(1, 3, &TO_OWN);
    let (mut sent, mut came) = (0, Vec::new());
    let mut pass = |a: &mut Engine, many: usize, came: &mut Vec<u16>| {
        for _ in 0..many {
            a.put(0, LAN, &numbered(1, sent % 1000));
            sent += 1;
        }
        a.poll();
        // But for the MARK, a probe of 44 bytes to port 862 of the far end.
        let wire = a.take(WAN).into_iter().filter(|frame| frame[14 + 24 + 22..][..2] != [3, 94]);
        came.extend(numbers(&wire.collect::<Vec<_>>()));
    };
    pass(&mut a, 32, &mut came);
    must_move(&mut a, &TO_LINK, Nanos::from_millis(20));
    for _ in 0..WAITING_MAX / 32 {
        pass(&mut a, 32, &mut came);
        assert!(a.take(LINK).is_empty());
    }
    for _ in 0..40 {
        pass(&mut a, 1, &mut came);
    }
    assert_eq!(a.counters().held.get(), 0);
    assert_eq!(a.drops(), [].into());
    let expected: Vec<u16> = (0..came.len() as u16).map(|n| n % 1000).collect();
    assert_eq!(came, expected, "in order");
    assert_eq!(marks(&a), [1, 0, marks(&a)[2], 0], "one try, and it has not moved");
    assert_eq!(came.len(), usize::from(sent));
}

/// A host turns from the engine that owned the gateway to the one that does now.
#[test]
fn what_was_handed_over_goes_before_what_the_host_sends_next() {
    let (mut old, mut new) = (engine(1, 3, &TO_LINK), engine(3, 1, &TO_OWN));
    let over = |old: &mut Engine, n| old.pass(LAN, &numbered(1, n), LINK).remove(0);
    let first = over(&mut old, 0);
    assert_eq!(numbers(&new.pass(LINK, &first, WAN)), [0]);
    // On the cable while the next one comes to the new owner.
    let slow = over(&mut old, 1);
    let mark = new.pass(LAN, &numbered(3, 2), LINK);
    assert!(mark.len() == 1 && new.take(WAN).is_empty());
    assert_eq!(numbers(&new.pass(LINK, &slow, WAN)), [1], "what was handed over never waits");
    let answer = old.pass(LINK, &mark[0], LINK);
    new.put(0, LINK, &answer[0]);
    new.poll();
    assert_eq!(numbers(&new.pass(LAN, &numbered(3, 3), WAN)), [2, 3]);
    assert_eq!(marks(&new)[..3], [1, 1, 1]);
    // With the link down nobody can be asked, and nobody waits.
    assert_eq!(numbers(&new.pass(LINK, &slow, WAN)), [1]);
    new.draft.tunnels[1].up = false;
    new.publish();
    assert_eq!(numbers(&new.pass(LAN, &numbered(3, 4), WAN)), [4]);
    assert_eq!(new.drops(), [("probe_consumed", 1)].into());
}

/// The same at once, as where a static SA moves with the site: nothing of the flow has come over the link before.
#[test]
fn who_takes_a_site_over_lets_what_the_last_owner_has_go_first() {
    for standby_saw_it in [true, false] {
        let (mut old, mut new) = (engine(1, 3, &TO_LINK), engine(3, 1, &TO_LINK));
        if standby_saw_it {
            assert_eq!(numbers(&new.pass(LAN, &numbered(3, 0), LINK)), [0], "to the owner");
        }
        let stray = old.pass(LAN, &numbered(1, 1), LINK).remove(0);
        new.draft.groups[0].taken_over += 1;
        must_move(&mut new, &TO_OWN, Nanos(0));
        let mark = new.pass(LAN, &numbered(3, 2), LINK);
        assert!(mark.len() == 1 && new.take(WAN).is_empty(), "it waits");
        assert_eq!(numbers(&new.pass(LINK, &stray, WAN)), [1]);
        let answer = old.pass(LINK, &mark[0], LINK);
        new.put(0, LINK, &answer[0]);
        new.poll();
        assert_eq!(numbers(&new.pass(LAN, &numbered(3, 3), WAN)), [2, 3]);
        // Once; what moves later moves as ever.
        new.publish();
        assert_eq!(numbers(&new.pass(LAN, &numbered(3, 4), WAN)), [4]);
    }
}

/// One MARK down the link is behind what came by it for every group.
#[test]
fn who_takes_a_site_over_waits_once_for_all_groups() {
    let mut draft = Draft::new(3, 1);
    let tunnel = draft.tunnel(GRE, false, 2);
    draft.tunnel(Encapsulation::Direct, false, 1);
    for far in [2, 4] {
        draft.group(far, &TO_OWN, &[tunnel]);
    }
    let (mut old, mut new) = (engine(1, 3, &TO_LINK), Engine::new(draft));
    new.draft.groups.iter_mut().for_each(|group| group.taken_over += 1);
    new.publish();
    let to = |far| {
        frame(engine_mac(3, 0), host_mac(), None, &Ip::between(1, far, false).udp(7, 20 + usize::from(far)))
    };
    let mark = new.pass(LAN, &to(2), LINK);
    assert!(mark.len() == 1 && new.pass(LAN, &to(4), LINK).is_empty() && new.take(WAN).is_empty());
    let answer = old.pass(LINK, &mark[0], LINK);
    assert_eq!(numbers(&new.pass(LINK, &answer[0], WAN)), [] as [u16; 0]);
    new.poll();
    assert_eq!(numbers(&new.take(WAN)), [2, 4]);
    assert_eq!(marks(&new)[..3], [1, 1, 2]);
}

/// The tunnel that is left dies while its last packets are waited for.
#[test]
fn nobody_waits_for_a_dead_tunnel() {
    let mut a = engine(1, 3, &TO_OWN);
    a.pass(LAN, &numbered(1, 0), WAN);
    must_move(&mut a, &TO_LINK, Nanos::from_millis(40));
    a.pass(LAN, &numbered(1, 1), WAN);
    a.draft.tunnels[0].up = false;
    a.publish();
    assert_eq!(numbers(&a.pass(LAN, &numbered(1, 2), LINK)), [1, 2]);
    assert!(a.take(WAN).is_empty());
}
