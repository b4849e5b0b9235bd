use super::codec::{Entry, Frame, entries};
use super::exchange::{Exchange, Link, Output};
use super::receiver::Receiver;
use super::sas::{KeyId, SaState, SaWindow, ShadowedSas};
use super::sender::{Rounds, Sender};
use crate::message::SaParameters;
use dataplane::flow::{
    AnyTuple, HashKeys, NewSession, SessionConfig, SessionKey, SessionTable, Timeouts, Track, Tuple, Upper,
    WhenFull,
};
use dataplane::id::{Nanos, Spi};
use dataplane::sa::Algorithm;
use dataplane::shadow::{ControlShadow, FlowChange, FlowState, Report, Task, connect};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn key(n: u8) -> SessionKey {
    let address = |low: u8| [10, 0, 0, low];
    let protocol = if n.is_multiple_of(4) { 17 } else { 6 };
    let forward =
        Tuple { src: address(n).into(), dst: [192, 0, 2, 1].into(), src_port: 1000, dst_port: 443, protocol };
    match n % 3 {
        0 => SessionKey::plain(AnyTuple::V4(forward)),
        1 => {
            let dst = [203, 0, 113, 1].into();
            SessionKey::V4 {
                forward,
                reverse: Tuple { dst, dst_port: 2000 + u16::from(n), ..forward.reversed() },
            }
        }
        _ => {
            let (src, dst) = ((u128::from(n) + 1).into(), 0x2001_0db8_u128.into());
            SessionKey::V6(Tuple { src, dst, src_port: 1, dst_port: 2, protocol })
        }
    }
}

const FLOWS: u8 = 60;

fn table(now: Nanos) -> (SessionTable, ControlShadow) {
    let timeouts = Timeouts { tcp_opening: 20, tcp_established: 40, udp_one_way: 15, ..Timeouts::default() };
    let config = SessionConfig { capacity: 200, nat: true, timeouts, when_full: WhenFull::DropNew };
    let mut table = SessionTable::new(config, HashKeys::seeded(7), now);
    let (worker, control) = connect();
    table.shadow(worker.reports);
    (table, control)
}

/// What may happen to an engine, its shadow and what is between them.
#[derive(Clone, Debug)]
enum Step {
    Begin(u8),
    Packet {
        flow: u8,
        reply: bool,
        flags: u8,
    },
    Pass {
        seconds: u64,
    },
    /// So many reports find no room.
    Lose(usize),
    /// The channel is cut, and made anew.
    Cut,
    /// The shadow starts anew.
    Restart,
    /// The engine itself starts anew.
    Reboot,
}

fn step() -> impl Strategy<Value = Step> {
    let flow = 0..FLOWS;
    prop_oneof![
        6 => flow.clone().prop_map(Step::Begin),
        6 => (flow, any::<bool>(), prop::sample::select(vec![0x10_u8, 0x12, 0x11, 0x04]))
            .prop_map(|(flow, reply, flags)| Step::Packet { flow, reply, flags }),
        3 => (1..12_u64).prop_map(|seconds| Step::Pass { seconds }),
        2 => (1..20_usize).prop_map(Step::Lose),
        1 => Just(Step::Cut),
        1 => Just(Step::Restart),
        1 => Just(Step::Reboot),
    ]
}

/// An engine and its shadow, with the real ends of the channel and octets between them.
struct Pair {
    now: Nanos,
    active: SessionTable,
    control: ControlShadow,
    sender: Sender,
    rounds: Rounds,
    lost: u64,
    lose: usize,
    shadow: SessionTable,
    _shadow_control: ControlShadow,
    receiver: Receiver,
}

impl Pair {
    fn new() -> Pair {
        let now = Nanos::from_millis(5_000);
        let ((active, control), (shadow, _shadow_control)) = (table(now), table(now));
        let mut pair = Pair {
            now,
            active,
            control,
            sender: Sender::new(now),
            rounds: Rounds::default(),
            lost: 0,
            lose: 0,
            shadow,
            _shadow_control,
            receiver: Receiver::new(1),
        };
        pair.connect();
        pair
    }

    fn connect(&mut self) {
        self.sender = Sender::new(self.now);
        self.receiver.connected();
        self.deliver(Some(Frame::Hello { inputs: vec!["lan".into(), "wan".into()] }));
    }

    fn carry_out(&mut self, step: &Step) {
        match *step {
            Step::Begin(n) => {
                let new = NewSession {
                    key: key(n),
                    upper: if n.is_multiple_of(4) { Upper::Other } else { Upper::Tcp(2) },
                    generation: 1,
                    rule: 0,
                    input: u16::from(n % 2),
                };
                if self.active.lookup(&new.key.forward()).is_none() {
                    let _ = self.active.insert(&new, self.now, |_| ());
                }
            }
            Step::Packet { flow, reply, flags } => {
                let tuple = if reply { key(flow).reverse() } else { key(flow).forward() };
                let upper = if flow.is_multiple_of(4) { Upper::Other } else { Upper::Tcp(flags) };
                if let Some(hit) = self.active.lookup(&tuple) {
                    self.active.pass(hit, upper, self.now.into(), 1);
                }
            }
            Step::Pass { seconds } => {
                // As a worker polls: the sweep passes over the table once a second.
                for _ in 0..seconds * 4 {
                    self.now = self.now.plus(Nanos::from_millis(250));
                    self.poll();
                }
            }
            Step::Lose(many) => self.lose += many,
            Step::Cut => self.connect(),
            Step::Restart => {
                (self.shadow, self._shadow_control) = table(self.now);
                self.receiver = Receiver::new(1);
                self.connect();
            }
            Step::Reboot => {
                (self.active, self.control) = table(self.now);
                (self.rounds, self.lost) = (Rounds::default(), 0);
                self.connect();
            }
        }
        self.poll();
    }

    /// One poll of each worker, and what the shells carry meanwhile.
    fn poll(&mut self) {
        self.active.shadow_step(self.now, |_| ());
        self.active.sweep(self.now, |_| ());
        self.shadow.shadow_step(self.now, |_| ());
        self.shadow.sweep(self.now, |_| ());
        if let Some(round) = self.rounds.begin(&mut [&mut self.sender], self.lost, 1, self.now) {
            self.add(Entry::RoundBegins);
            self.active.report_all(round);
        }
        while let Some(report) = self.control.reports.pop() {
            match report {
                Report::Flow(..) if self.lose > 0 => (self.lose, self.lost) = (self.lose - 1, self.lost + 1),
                Report::Flow(at, change) => self.add_at(change.into(), at),
                Report::RoundEnds(round) => {
                    if self.rounds.worker_ended(round, self.now) {
                        self.add(Entry::RoundEnds);
                    }
                }
            }
        }
        let last = self.sender.close(self.now);
        self.deliver(last);
    }

    fn add(&mut self, entry: Entry) {
        self.add_at(entry, self.now);
    }

    fn add_at(&mut self, entry: Entry, at: Nanos) {
        let full = self.sender.add(&entry, at, self.now);
        self.deliver(full);
    }

    /// Over the wire, into the shadow's table, and the acknowledgement back.
    fn deliver(&mut self, frame: Option<Frame>) {
        let Some(frame) = frame else { return };
        let octets = frame.encode();
        let frame = Frame::decode(&octets[4..]).expect("as encoded");
        let ours = BTreeMap::from([("wan".to_owned(), 0), ("lan".to_owned(), 1)]);
        let mut tasks = Vec::new();
        let mut sas = ShadowedSas::default();
        self.receiver.take(frame, &ours, self.now, (&mut sas, &mut tasks)).expect("in order");
        for task in &tasks {
            match task {
                Task::Install(state, origin) => drop(self.shadow.install(state, *origin, self.now)),
                Task::End(key, origin) => drop(self.shadow.end_copy(key, *origin)),
                Task::Forget(origin) => self.shadow.forget(*origin),
                Task::Renew | Task::Report(_) => unreachable!("not of the channel"),
            }
        }
        if let Some(Frame::Ack { number }) = self.receiver.done(tasks.len()) {
            self.sender.acknowledged(number, self.now).expect("a batch that was sent");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Whatever happens, and whatever is lost: when nothing is lost any more, the shadow comes to have exactly what the
    /// engine has, in the same state.
    #[test]
    fn a_shadow_converges(steps in prop::collection::vec(step(), 1..120)) {
        let mut pair = Pair::new();
        steps.iter().for_each(|step| pair.carry_out(step));
        pair.lose = 0;
        pair.carry_out(&Step::Pass { seconds: 5 });
        prop_assert!(!pair.sender.is_behind(), "a round was due, and began");
        for n in 0..FLOWS {
            let state = |table: &SessionTable| {
                let (id, _) = table.of_key(&key(n))?;
                table.get(id).map(|session| (session.phase(), session.input))
            };
            let ours = state(&pair.active).map(|(phase, input)| (phase, 1 - input));
            prop_assert_eq!(ours, state(&pair.shadow), "flow {}", n);
        }
        prop_assert_eq!(pair.active.len(), pair.shadow.len());
        prop_assert_eq!((pair.sender.pending(), pair.receiver.pending()), (0, 0));
    }

    /// Every entry reads back as it was written, alone and in a row.
    #[test]
    fn entries_read_back(all in prop::collection::vec(entry(), 0..40)) {
        let mut octets = Vec::new();
        all.iter().for_each(|entry| entry.encode(&mut octets));
        let frame = Frame::Batch { number: 7, entries: octets.clone() };
        prop_assert_eq!(Frame::decode(&frame.encode()[4..]).expect("as encoded"), frame);
        let read: Result<Vec<Entry>, _> = entries(&octets).collect();
        prop_assert_eq!(&read.expect("as encoded"), &all);
        if let Some(cut) = octets.len().checked_sub(1) {
            let whole = entries(&octets[..cut]).filter_map(Result::ok).count();
            prop_assert_eq!(whole, all.len() - 1, "the last one breaks off");
        }
    }
}

fn sa(n: u8) -> SaState {
    SaState {
        key_in: KeyId::new([n; 16]),
        key_out: KeyId::new([n ^ 0xff; 16]),
        spi_in: Spi(0x1000 + u32::from(n)),
        spi_out: Spi(0x2000 + u32::from(n)),
        parameters: SaParameters { algorithm: Algorithm::Aes256Gcm, esn: n.is_multiple_of(2) },
        epoch: u16::from(n),
        reserved: 1 << 24,
        limit: 0,
        rate: 0,
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let window =
        |(top, accepted)| Entry::Window { key: KeyId::new([3; 16]), window: SaWindow { top, accepted } };
    prop_oneof![
        (0..FLOWS, any::<u8>(), any::<u16>(), any::<u16>()).prop_map(|(n, track, idle, input)| {
            Entry::Flow(FlowChange::Live(FlowState {
                key: key(n),
                track: Track::from_octet(track),
                idle,
                input,
            }))
        }),
        (0..FLOWS).prop_map(|n| Entry::Flow(FlowChange::Ended(key(n)))),
        Just(Entry::RoundBegins),
        Just(Entry::RoundEnds),
        any::<u8>().prop_map(|n| Entry::Sa(sa(n))),
        (any::<u64>(), any::<u32>()).prop_map(|(limit, rate)| Entry::Limit {
            key: KeyId::new([9; 16]),
            limit,
            rate
        }),
        (any::<u64>(), prop::collection::vec(any::<u64>(), 0..64)).prop_map(window),
    ]
}

#[test]
fn a_shadow_that_acknowledges_nothing_holds_nobody_back_for_long() {
    let now = Nanos::from_millis(1_000);
    let mut sender = Sender::new(now);
    sender.begins();
    let change = Entry::Flow(FlowChange::Ended(key(2)));
    let mut frames = 0;
    for _ in 0..200_000 {
        frames += usize::from(sender.has_room(now) && sender.add(&change, now, now).is_some());
    }
    assert!(frames > 10 && !sender.has_room(now), "what waits is bounded: {frames}");
    let later = now.plus(Nanos::from_millis(1_100));
    assert!(sender.has_room(later), "nobody waits for it any more");
    assert_eq!(sender.add(&change, later, later), None);
    assert!(sender.is_behind(), "and it needs a round");
    let lags = sender.acknowledged(3, later).expect("sent");
    assert!(lags.len() == 3 && lags.iter().all(|ack| ack.lag == Nanos::from_millis(1_100)));
    assert_eq!(sender.acknowledged(1 << 40, later), None, "never sent");
}

#[test]
fn a_shadow_is_whole_when_it_has_acknowledged_the_round_that_it_needed() {
    let now = Nanos::from_millis(1_000);
    let mut sender = Sender::new(now);
    let change = Entry::Flow(FlowChange::Ended(key(2)));
    let tell = |sender: &mut Sender| {
        let _ = sender.add(&change, now, now);
        let _ = sender.close(now);
        sender.horizon()
    };
    sender.ended();
    assert!(!sender.is_whole(), "that round began before it was there");
    sender.begins();
    let first = tell(&mut sender);
    sender.acknowledged(first, now);
    assert!(!sender.is_whole(), "the round goes on");
    let last = tell(&mut sender);
    sender.ended();
    assert!(!sender.is_whole(), "its end is on the way");
    sender.acknowledged(last, now);
    assert!(sender.is_whole());
    // Another one's round, and changes on their way, take nothing from it; what was lost does.
    sender.begins();
    tell(&mut sender);
    assert!(sender.is_whole());
    sender.missed();
    assert!(!sender.is_whole());
    sender.begins();
    assert!(!sender.is_whole());
}

#[test]
fn what_a_window_accepted_stays_accepted() {
    use dataplane::replay::{ReplayWindow, WindowSize};
    let size = WindowSize::new(128).expect("a size");
    let mut window = ReplayWindow::new(size, false);
    let came: Vec<u64> = (1..700).filter(|n| n % 7 != 3).collect();
    came.iter().for_each(|&n| window.accept(n).expect("new"));
    let (exact, above) = (ReplayWindow::resumed(&window.state(), size, false), window.top());
    assert_eq!(exact.state(), window.state());
    for n in 1..700_u32 {
        let is_new = came.last().is_some_and(|top| *top < u64::from(n) + 128) && n % 7 == 3;
        assert_eq!(exact.check(n).is_ok(), is_new || n > 699, "{n}");
    }
    let floor = ReplayWindow::above(above, size, false);
    assert!((1..=above).all(|n| floor.check(n as u32).is_err()) && floor.check(above as u32 + 1).is_ok());
}

/// What is asked before a round has named the SAs nobody has noted: the shadow may not know the SA.
#[test]
fn a_shadow_notes_what_is_reserved_once_it_was_told_of_the_sas() {
    let now = Nanos::from_millis(1000);
    let mut exchange = Exchange::new(Vec::new(), (1, 0), Vec::new());
    let settled = |exchange: &mut Exchange, acknowledge: bool| {
        exchange.step(now);
        let mut outputs: Vec<Output> = exchange.outputs().collect();
        let last = outputs.iter().rev().find_map(|output| match output {
            Output::Send(_, Frame::Batch { number, .. }) => Some(*number),
            _ => None,
        });
        if let Some(number) = last.filter(|_| acknowledge) {
            exchange.answered(0, Frame::Ack { number }, now);
            outputs.extend(exchange.outputs());
        }
        let of =
            |output| if let Output::Settled(ticket, noted) = output { Some((ticket, noted)) } else { None };
        outputs.into_iter().filter_map(of).collect::<Vec<_>>()
    };
    let state = sa(10);
    exchange.sa(state, Some(1), now);
    assert_eq!(settled(&mut exchange, false), [(1, false)], "there is none");
    exchange.up(Link::To(0), now);
    exchange.limit(state.key_in, (20, 1), Some(2), now);
    assert_eq!(settled(&mut exchange, true), [(2, false)], "it knows no SA yet");
    exchange.limit(state.key_in, (30, 1), Some(3), now);
    assert_eq!(settled(&mut exchange, false), []);
    exchange.limit(state.key_in, (40, 1), Some(4), now);
    assert_eq!(settled(&mut exchange, true), [(3, true), (4, true)]);
    exchange.limit(state.key_in, (50, 1), Some(5), now);
    exchange.down(Link::To(0));
    assert_eq!(settled(&mut exchange, true), [(5, false)], "it is gone");
}
