use super::*;
use dataplane::sa::Algorithm;
use std::collections::BTreeSet;

const PARAMETERS: SaParameters = SaParameters { algorithm: Algorithm::Aes256Gcm, esn: true };
const A: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

fn tunnel(peer: &str, local: usize) -> TunnelConfig {
    TunnelConfig {
        id: TunnelId(4),
        name: "t".into(),
        peer: peer.into(),
        endpoints: Endpoints::new(A[local].parse().unwrap(), A[1 - local].parse().unwrap()),
        protocol: Protocol::Esp {
            rekey_after: Nanos::from_millis(10_000),
            parameters: PARAMETERS,
            senders: 3,
        },
    }
}

/// Two ends over a perfect connection; installs are answered at once.
struct Pair {
    ends: [SaManager; 2],
    now: Nanos,
    installed: [BTreeSet<u64>; 2],
    outbound: [Vec<u64>; 2],
    spis: Vec<Spi>,
}

impl Pair {
    fn new() -> Pair {
        let end = |peer, local, seed| SaManager::new(&[tunnel(peer, local)], 3, SplitMix::new(seed));
        Pair {
            ends: [end("b", 0, 1), end("a", 1, 2)],
            now: Nanos(0),
            installed: Default::default(),
            outbound: Default::default(),
            spis: Vec::new(),
        }
    }

    fn carry_out(&mut self, end: usize, out: Vec<Output>) {
        for output in out {
            let mut more = Vec::new();
            let (me, now) = (&mut self.ends[end], self.now);
            match output {
                Output::InstallInbound { tunnel, generation, spis } => {
                    assert!(self.installed[end].insert(generation));
                    self.spis.extend(&spis);
                    me.inbound_installed(now, tunnel, generation, &mut more);
                    self.carry_out(end, more);
                }
                Output::InstallOutbound { tunnel, generation, .. } => {
                    assert!(
                        self.installed[1 - end].contains(&generation),
                        "switched before the far end had it"
                    );
                    self.outbound[end].push(generation);
                    me.outbound_installed(tunnel, generation, &mut more);
                    self.carry_out(end, more);
                }
                Output::RemoveInbound { generation, .. } => {
                    self.installed[end].retain(|g| *g > generation);
                    assert!(self.installed[end].contains(self.outbound[1 - end].last().unwrap()));
                }
                Output::Send { message, .. } => {
                    self.ends[1 - end].message(now, ["a", "b"][end], &message, &mut more);
                    self.carry_out(1 - end, more);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn connect(&mut self) {
        let mut outs = [Vec::new(), Vec::new()];
        for (end, out) in outs.iter_mut().enumerate() {
            self.ends[end].peer_up(["b", "a"][end], out);
        }
        for (end, out) in outs.into_iter().enumerate() {
            self.carry_out(end, out);
        }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.now = self.now.plus(Nanos::from_millis(10));
            for end in 0..2 {
                let mut out = Vec::new();
                self.ends[end].poll(self.now, &mut out);
                self.carry_out(end, out);
            }
        }
    }
}

#[test]
fn rekeys_by_time_without_a_gap_and_never_reuses_an_spi_or_generation() {
    let mut pair = Pair::new();
    pair.connect();
    assert!(pair.ends.iter().all(|e| e.can_send(TunnelId(4))));
    pair.run(100_000);
    for end in 0..2 {
        let used = &pair.outbound[end];
        assert!((10..=12).contains(&used.len()), "{used:?}");
        assert!(used.is_sorted_by(|a, b| a < b));
        assert!(pair.installed[end].len() <= 2);
    }
    for generation in pair.spis.chunks(3) {
        assert!(generation.iter().zip(0..).all(|(spi, worker)| spi.0 % 3 == worker));
    }
    let distinct: BTreeSet<_> = pair.spis.iter().collect();
    assert_eq!(distinct.len(), pair.spis.len());
    assert!(pair.spis.iter().all(|spi| spi.0 >= 256));
}

#[test]
fn a_soft_limit_makes_the_far_end_offer_once() {
    let mut pair = Pair::new();
    pair.connect();
    pair.run(1000);
    let before = pair.outbound[0].len();
    let mut out = Vec::new();
    pair.ends[0].soft_limit(pair.now, TunnelId(4), &mut out);
    pair.ends[0].soft_limit(pair.now, TunnelId(4), &mut out);
    assert_eq!(out.len(), 1, "rate limited");
    pair.carry_out(0, out);
    assert_eq!(pair.outbound[0].len(), before + 1);
}

#[test]
fn a_new_connection_brings_new_generations_and_a_lost_one_changes_nothing() {
    let mut pair = Pair::new();
    pair.connect();
    for end in 0..2 {
        pair.ends[end].peer_down(["b", "a"][end]);
    }
    pair.run(30_000);
    assert!(pair.ends.iter().all(|e| e.can_send(TunnelId(4))));
    assert_eq!(pair.outbound.iter().map(Vec::len).max(), Some(1), "no rekey without a connection");
    pair.connect();
    assert!(
        pair.outbound.iter().all(|o| o.is_sorted_by(|a, b| a < b) && o.len() == 2),
        "{:?}",
        pair.outbound
    );
}

#[test]
fn a_repeated_offer_is_answered_but_never_installed_twice() {
    let mut pair = Pair::new();
    pair.connect();
    let offer = Message::SaOffer {
        tunnel: tunnel("a", 1).endpoints,
        generation: *pair.outbound[0].last().unwrap(),
        spis: vec![Spi(300)],
        parameters: PARAMETERS,
    };
    let mut out = Vec::new();
    pair.ends[0].message(pair.now, "b", &offer, &mut out);
    assert!(matches!(&out[..], [Output::Send { message: Message::SaInUse { .. }, .. }]), "{out:?}");
}

#[test]
fn an_offer_with_other_parameters_installs_nothing_and_says_so() {
    let mut pair = Pair::new();
    pair.connect();
    let generation = pair.outbound[0].last().unwrap() + 1;
    for theirs in [
        SaParameters { algorithm: Algorithm::ChaCha20Poly1305, ..PARAMETERS },
        SaParameters { esn: false, ..PARAMETERS },
    ] {
        let (tunnel, spis) = (tunnel("a", 1).endpoints, vec![Spi(300)]);
        let offer = Message::SaOffer { tunnel, generation, spis, parameters: theirs };
        let mut out = Vec::new();
        pair.ends[0].message(pair.now, "b", &offer, &mut out);
        assert_eq!(out, [Output::OfferRefused { tunnel: TunnelId(4), ours: PARAMETERS, theirs }]);
    }
}

/// A WireGuard tunnel carries traffic while its handshakes have agreed on keys; nothing is negotiated for it here.
#[test]
fn wireguard_is_usable_while_it_has_a_session() {
    let wireguard = TunnelConfig { protocol: Protocol::WireGuard { probed: false }, ..tunnel("b", 0) };
    let mut sas = SaManager::new(&[wireguard], 1, SplitMix::new(1));
    let mut out = Vec::new();
    sas.peer_up("b", &mut out);
    sas.poll(Nanos::from_millis(5000), &mut out);
    assert!(out.is_empty(), "{out:?}");
    let mut states = vec![sas.can_send(TunnelId(4))];
    for up in [true, false, true] {
        sas.session(TunnelId(4), up);
        // Another tunnel is none of its business.
        sas.session(TunnelId(5), !up);
        states.push(sas.can_send(TunnelId(4)));
    }
    assert_eq!(states, [false, true, false, true]);
    assert!(sas.can_send(TunnelId(5)));
}
