use super::*;
use std::net::Ipv4Addr;

const MS: Duration = Duration::from_millis(1);

fn session(discriminator: u32, interval: Duration, multiplier: u8) -> Session {
    let address = |n| IpAddr::V4(Ipv4Addr::new(192, 0, 2, n));
    let (local, remote) = (address(discriminator as u8), address(3 - discriminator as u8));
    let (interface, hops) = (InterfaceId(0), Hops::Single);
    Session::new(Parameters { interface, hops, local, remote, discriminator, interval, multiplier })
}

/// Two ends and a wire that carries packets 1 ms late, or not at all, each way.
struct Pair {
    ends: [Session; 2],
    wire: Vec<(u64, usize, Control)>,
    cut: [bool; 2],
    ms: u64,
    sent: [u32; 2],
}

impl Pair {
    fn new(intervals: [u64; 2]) -> Pair {
        let end = |n: usize| session(n as u32 + 1, MS * intervals[n] as u32, 3);
        Pair { ends: [end(0), end(1)], wire: Vec::new(), cut: [false; 2], ms: 1, sent: [0; 2] }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.ms += 1;
            let (due, later) =
                std::mem::take(&mut self.wire).into_iter().partition(|(at, ..)| *at <= self.ms);
            self.wire = later;
            for (_, to, packet) in due {
                let mut bytes = [0; crate::wire::bfd::LENGTH];
                packet.write(&mut bytes).unwrap();
                assert_eq!(Control::parse(&bytes), Ok(packet), "on the wire and back");
                self.ends[to].received(&packet, Nanos::from_millis(self.ms));
            }
            for from in 0..2 {
                while let Some(packet) = self.ends[from].poll(Nanos::from_millis(self.ms)) {
                    self.sent[from] += 1;
                    if !self.cut[from] {
                        self.wire.push((self.ms + 1, 1 - from, packet));
                    }
                }
            }
        }
    }

    fn states(&self) -> [State; 2] {
        [self.ends[0].state(), self.ends[1].state()]
    }
}

#[test]
fn a_session_comes_up_and_sends_at_the_slower_pace() {
    let mut pair = Pair::new([10, 50]);
    pair.run(3000);
    assert_eq!(pair.states(), [State::Up; 2]);
    pair.sent = [0; 2];
    pair.run(10_000);
    // 50 ms, less up to a quarter: 200 to 267 packets, and no poll is left unanswered.
    assert!(pair.sent.iter().all(|n| (195..=275).contains(n)), "{:?}", pair.sent);
    assert!(pair.ends.iter().all(|end| !end.polling && end.diagnostic() == Diagnostic::NONE));
}

#[test]
fn silence_is_seen_within_the_detection_time_and_both_ends_say_so() {
    let mut pair = Pair::new([10, 10]);
    pair.run(3000);
    pair.cut = [true, false];
    let gone = (1..100).find(|_| {
        pair.run(1);
        pair.states()[1] == State::Down
    });
    assert!((20..=32).contains(&gone.unwrap()), "{gone:?} ms for three packets at 10 ms");
    assert_eq!(pair.ends[1].diagnostic(), Diagnostic::TIMED_OUT);
    pair.run(20);
    assert_eq!((pair.states()[0], pair.ends[0].diagnostic()), (State::Down, Diagnostic::NEIGHBOR_DOWN));
    pair.cut = [false; 2];
    pair.run(3000);
    assert_eq!(pair.states(), [State::Up; 2]);
}

#[test]
fn a_restarted_end_brings_the_other_down_and_up_again() {
    let mut pair = Pair::new([20, 20]);
    pair.run(3000);
    pair.ends[0] = session(1, 20 * MS, 3);
    let noticed = (0..30).any(|_| {
        pair.run(1);
        pair.states()[1] == State::Down
    });
    assert!(noticed, "its neighbour knew nothing of the other's new life");
    pair.run(3000);
    assert_eq!(pair.states(), [State::Up; 2]);
}

/// RFC 5880 §6.8.6, state by state.
#[test]
fn the_state_machine_is_the_rfcs() {
    use State::*;
    let table = [
        (Down, AdminDown, Down),
        (Down, Down, Init),
        (Down, Init, Up),
        (Down, Up, Down),
        (Init, AdminDown, Down),
        (Init, Down, Init),
        (Init, Init, Up),
        (Init, Up, Up),
        (Up, AdminDown, Down),
        (Up, Down, Down),
        (Up, Init, Up),
        (Up, Up, Up),
    ];
    for (from, told, to) in table {
        let mut end = session(1, 10 * MS, 3);
        end.state = from;
        let packet = Control { state: told, your_discriminator: 1, ..session(2, 10 * MS, 3).packet() };
        end.received(&packet, Nanos(1));
        assert_eq!(end.state(), to, "{from:?} told {told:?}");
    }
}

#[test]
fn only_the_neighbours_packets_are_the_sessions() {
    let end = session(1, 10 * MS, 3);
    let (ours, theirs) = (end.parameters().local, end.parameters().remote);
    let packet = session(2, 10 * MS, 3).packet();
    let arrived = Arrived { interface: InterfaceId(0), src: theirs, dst: ours, port: PORT, ttl: 255 };
    assert!(end.is_for(&packet, &arrived));
    assert!(!end.is_for(&packet, &Arrived { ttl: 254, ..arrived }));
    assert!(!end.is_for(&packet, &Arrived { port: MULTIHOP_PORT, ..arrived }));
    assert!(!end.is_for(&packet, &Arrived { interface: InterfaceId(1), ..arrived }));
    assert!(!end.is_for(&packet, &Arrived { src: ours, dst: theirs, ..arrived }));
    assert!(!end.is_for(&Control { your_discriminator: 9, ..packet }, &arrived));
}

#[test]
fn what_the_rfc_wants_discarded_is() {
    let good = session(2, 10 * MS, 3).packet();
    let mut bytes = [0; crate::wire::bfd::LENGTH];
    good.write(&mut bytes).unwrap();
    let with = |at: usize, value: u8| {
        let mut bytes = bytes;
        bytes[at] = value;
        Control::parse(&bytes)
    };
    assert_eq!(Control::parse(&bytes), Ok(good));
    assert!(with(0, 0).is_err(), "version 0");
    assert!(with(2, 0).is_err(), "multiplier 0");
    assert!(with(3, 23).is_err() && with(3, 25).is_err(), "length");
    assert!(with(1, 0x44).is_err() && with(1, 0x41).is_err(), "authentication, multipoint");
    assert!(with(1, 0xc0).is_err(), "Up, and knows nobody");
    assert!(with(7, 0).is_err(), "nameless");
    assert!(Control::parse(&bytes[..23]).is_err());
}
