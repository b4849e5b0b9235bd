use super::*;
use dataplane::replay::ReplayError;
use dataplane::sa::Algorithm;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::num::NonZeroU16;

const ABOUT: About = About {
    key_in: KeyId::new([1; 16]),
    key_out: KeyId::new([2; 16]),
    spi_in: Spi(0x1000),
    spi_out: Spi(0x2000),
    parameters: SaParameters { algorithm: Algorithm::Aes256Gcm, esn: true },
    size: WindowSize::new(64).expect("a size"),
};
/// A message that is under way for longer counts as lost.
const LATE: Nanos = Nanos::from_millis(200);

fn part(epoch: u16) -> Partition {
    Partition {
        epoch: NonZeroU16::new(epoch).expect("an epoch"),
        first: u64::from(epoch) * 1000,
        count: 1000,
    }
}

/// An engine that has the SA, its worker, and what its shadow has heard.
struct Owner {
    now: Nanos,
    site: SiteSa,
    window: Option<ReplayWindow>,
    /// Numbers that wait for the limit.
    waiting: Vec<u64>,
    next: u64,
    known: ShadowedSas,
    under_way: VecDeque<(Nanos, Action)>,
    sends: bool,
    /// Where its window has ended.
    ended: u64,
}

impl Owner {
    fn new() -> Owner {
        let now = Nanos::from_millis(10_000);
        let mut owner = Owner {
            now,
            site: SiteSa::new(ABOUT, Disk { accepted: 0, free: 1 }),
            window: None,
            waiting: Vec::new(),
            next: 1,
            known: ShadowedSas::default(),
            under_way: VecDeque::new(),
            sends: false,
            ended: 0,
        };
        owner.site.take(part(1), now);
        owner.pass(1);
        owner
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now = self.now.plus(Nanos::from_millis(1));
            if self.under_way.front().is_some_and(|(sent, _)| self.now.since(*sent) >= LATE) {
                self.hear(usize::MAX);
            }
            self.known.alive(self.now);
            self.tick();
        }
    }

    fn tick(&mut self) {
        let mut actions = Vec::new();
        self.site.tick(self.now, None, &mut actions);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::InstallInbound(window) => self.window = Some(window),
                Action::Limit(limit) => {
                    let window = self.window.as_mut().expect("installed");
                    let in_force = window.set_limit(limit);
                    self.waiting.retain(|&seq| window.accept(seq) == Err(ReplayError::Ahead));
                    let mut more = Vec::new();
                    self.site.limited(in_force, self.now, &mut more);
                    self.carry_out(more);
                }
                Action::InstallOutbound(_) => self.sends = true,
                Action::Keep(_) => {}
                Action::Remove => {
                    let window = self.window.take().expect("installed").state();
                    (self.ended, self.sends) = (window.top, false);
                    self.waiting.clear();
                    let mut more = Vec::new();
                    self.site.retired(window, self.now, &mut more);
                    self.carry_out(more);
                }
                said => self.under_way.push_back((self.now, said)),
            }
        }
    }

    /// The shadow hears so many of the messages that are under way.
    fn hear(&mut self, many: usize) {
        for _ in 0..many.min(self.under_way.len()) {
            let (_, said) = self.under_way.pop_front().expect("one of them");
            let ticket = match said {
                Action::Reserve(ticket, state) => {
                    self.known.set(state, self.now);
                    Some(ticket)
                }
                Action::Announce(ticket, limit, rate) => {
                    self.known.limit(ABOUT.key_in, (limit, rate), self.now);
                    ticket
                }
                Action::Released(window) => {
                    self.known.released(ABOUT.key_in, window, self.now);
                    None
                }
                other => panic!("{other:?} is not said"),
            };
            if let Some(ticket) = ticket {
                self.site.settled(ticket, true, self.now);
            }
        }
    }

    /// Gives it to an engine that hears everything.
    fn hand_over(&mut self) {
        let mut actions = Vec::new();
        self.site.release(&mut actions);
        self.carry_out(actions);
        self.hear(usize::MAX);
    }

    fn packets(&mut self, many: u64) {
        for seq in self.next..self.next + many {
            if self.window.as_mut().is_some_and(|window| window.accept(seq) == Err(ReplayError::Ahead)) {
                self.waiting.push(seq);
            }
            self.site.reached(seq, self.now);
        }
        self.next += many;
        self.tick();
    }

    fn top(&self) -> u64 {
        self.window.as_ref().map_or(0, ReplayWindow::top)
    }

    /// Where another engine would go on if this one died now.
    fn floor(&self) -> u64 {
        match self.known.floor(ABOUT.key_in, self.now) {
            Some(Floor::Above(floor)) => floor,
            Some(Floor::Exact(window)) => window.top,
            None => 0,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Packets(u64),
    /// The peer leaves numbers out.
    Jump(u64),
    Pass(u64),
    Hear(usize),
    HandOver,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop_oneof![Just(1), 1..40_u64].prop_map(Step::Packets),
        1 => prop_oneof![1..200_u64, (1_u64 << 20)..(1 << 24)].prop_map(Step::Jump),
        4 => prop_oneof![1..50_u64, 1..6_000_u64].prop_map(Step::Pass),
        4 => (1..4_usize).prop_map(Step::Hear),
        1 => Just(Step::HandOver),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whenever an engine dies whose shadow is connected, the floor is above all that it has accepted: whatever was under way
    /// did not arrive.
    #[test]
    fn nothing_above_the_floor_was_accepted(steps in prop::collection::vec(step(), 1..80)) {
        let mut owner = Owner::new();
        let mut epoch = 1;
        for step in steps {
            match step {
                Step::Packets(many) => owner.packets(many),
                Step::Jump(many) => owner.next += many,
                Step::Pass(ms) => owner.pass(ms),
                Step::Hear(many) => owner.hear(many),
                Step::HandOver => {
                    owner.hand_over();
                    let accepted = owner.ended;
                    prop_assert_eq!(owner.floor(), accepted, "exactly");
                    epoch += 1;
                    owner.site.take(part(epoch), owner.now);
                    owner.tick();
                    prop_assert_eq!(owner.top(), accepted, "its own window goes on");
                }
            }
            prop_assert!(owner.floor() >= owner.top(), "{} < {}", owner.floor(), owner.top());
        }
        // In the end everything that came is accepted, and the engine sends.
        owner.pass(1_000);
        prop_assert!(owner.waiting.is_empty() && owner.sends);
    }
}

/// A process that has just started knows what its former life accepted by its disk alone, unless the other engine has had the SA
/// since. Which of them was the last the reservations of what leaves say.
#[test]
fn a_new_process_goes_on_behind_the_last_owner() {
    let began = Disk { accepted: 50, free: 2_000 };
    for (reserved, window_ends, expected) in
        [(1_000, 10, 50), (1_000, 50, 50), (1_000, 70, 70), (2_000, 10, 10), (3_000, 70, 70)]
    {
        let now = Nanos::from_millis(10_000);
        let (mut known, mut site) = (ShadowedSas::default(), SiteSa::new(ABOUT, began));
        let state = SiteSa::new(ABOUT, began).state(part(1), 5, now);
        known.set(SaState { reserved, ..state }, now);
        let mut window = ReplayWindow::new(ABOUT.size, true);
        window.accept(window_ends).expect("new");
        known.released(ABOUT.key_in, window.state(), now);
        site.take(part(3), now);
        let mut actions = Vec::new();
        site.tick(now, Some(&known), &mut actions);
        let Some(Action::InstallInbound(window)) = actions.first() else { panic!("{actions:?}") };
        assert_eq!(window.top(), expected, "{reserved} {window_ends}");
    }
    // Nothing is accepted before a limit is set, not even what came late.
    let (mut site, mut actions) = (SiteSa::new(ABOUT, began), Vec::new());
    let (mut known, now) = (ShadowedSas::default(), Nanos::from_millis(10_000));
    known.set(SaState { reserved: 3_000, ..SiteSa::new(ABOUT, began).state(part(1), 5, now) }, now);
    let mut late = ReplayWindow::new(ABOUT.size, true);
    late.accept(9).expect("new");
    known.released(ABOUT.key_in, late.state(), now);
    site.take(part(3), now);
    site.tick(now, Some(&known), &mut actions);
    let Some(Action::InstallInbound(window)) = actions.first_mut() else { panic!("{actions:?}") };
    assert_eq!((window.accept(8), window.accept(9)), (Err(ReplayError::Ahead), Err(ReplayError::Duplicate)));
    window.set_limit(9);
    assert_eq!(window.accept(8), Ok(()));
    // Nobody has said anything.
    let (mut site, mut actions) = (SiteSa::new(ABOUT, began), Vec::new());
    site.take(part(3), Nanos(1));
    site.tick(Nanos(1), None, &mut actions);
    assert!(matches!(&actions[0], Action::InstallInbound(window) if window.top() == 50), "{actions:?}");
}

/// At one packet a second a crash makes two numbers unusable, at a thousand what comes in half a second and a little.
#[test]
fn the_limit_is_as_far_ahead_as_the_peer_is_fast() {
    for (spacing_ms, most) in [(1000, 2), (100, 8), (1, 540)] {
        let mut owner = Owner::new();
        // A burst beforehand is forgotten.
        owner.packets(2_000);
        owner.pass(6_000);
        for n in 0..8_000 / spacing_ms {
            owner.packets(1);
            for _ in 0..spacing_ms {
                owner.pass(1);
                owner.hear(usize::from(n % 5 != 4 || spacing_ms > 1) * 4);
            }
            assert!(owner.waiting.is_empty() || n < 200, "{spacing_ms}: {:?} wait", owner.waiting);
        }
        let ahead = owner.floor() - owner.top();
        assert!(ahead >= 1 && ahead <= most, "every {spacing_ms} ms: {ahead}");
    }
}

/// An engine whose shadow is gone goes on: at once where much comes, after a while where little does.
#[test]
fn without_a_shadow_it_goes_on() {
    for (many, within_ms) in [(1, 2_100), (100, 400)] {
        let mut owner = Owner::new();
        owner.hear(1);
        owner.tick();
        for _ in 0..20 {
            owner.packets(many);
            owner.pass(250);
            owner.hear(usize::MAX);
        }
        owner.under_way.clear();
        let begin = owner.now;
        while !owner.waiting.is_empty() || owner.now == begin {
            owner.packets(many);
            let ticket = owner.site.tickets;
            owner.site.settled(ticket, false, owner.now);
            owner.under_way.clear();
            owner.now = owner.now.plus(Nanos::from_millis(10));
            owner.tick();
            if owner.now.since(begin) > Nanos::from_millis(within_ms) {
                panic!("{many}: {:?} still wait", owner.waiting);
            }
        }
    }
}
