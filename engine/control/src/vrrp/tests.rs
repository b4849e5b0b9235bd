//! Routers on one link, by the rules of RFC 9568 §6.4.

use super::*;
use proptest::prelude::*;
use std::net::Ipv4Addr;

const INTERVAL: Nanos = Nanos::from_millis(1000);
const STEP: Nanos = Nanos::from_millis(10);

fn router(place: u8, priority: u8) -> VirtualRouter {
    made(place, |parameters| parameters.priority = priority)
}

fn made(place: u8, change: impl FnOnce(&mut Parameters)) -> VirtualRouter {
    let mut parameters = Parameters {
        version: Version::V4,
        local: Ipv4Addr::new(10, 0, 0, place).into(),
        priority: 100,
        interval: INTERVAL,
        preempt: true,
        fenced: false,
    };
    change(&mut parameters);
    VirtualRouter::new(parameters)
}

/// A link on which what one advertises all the others hear in the same step. Those that do not stand listen.
struct Link {
    now: Nanos,
    routers: Vec<VirtualRouter>,
    stands: Vec<bool>,
}

impl Link {
    fn of(routers: Vec<VirtualRouter>) -> Link {
        let mut link = Link { now: Nanos(0), stands: vec![true; routers.len()], routers };
        link.routers.iter_mut().for_each(|router| router.start(Nanos(0)));
        link
    }

    fn run(&mut self, time: Nanos) {
        let until = self.now.plus(time);
        while self.now < until {
            self.now = self.now.plus(STEP);
            for at in 0..self.routers.len() {
                let stands = self.stands[at].then_some(self.routers[at].parameters.priority);
                let mut acts = Vec::new();
                self.routers[at].poll(self.now, stands, &mut acts);
                self.hear(at, acts);
            }
        }
    }

    fn hear(&mut self, from: usize, acts: Vec<Act>) {
        let mut waiting = vec![(from, acts)];
        while let Some((from, acts)) = waiting.pop() {
            let advertised = acts.iter().filter_map(|act| match act {
                Act::Advertise(priority) => Some(*priority),
                Act::Active(_) => None,
            });
            for priority in advertised {
                let Parameters { local, interval, .. } = *self.routers[from].parameters();
                for to in (0..self.routers.len()).filter(|to| *to != from) {
                    let mut acts = Vec::new();
                    let ours = self.routers[to].parameters.priority;
                    let heard = Heard { from: local, priority, interval };
                    self.routers[to].receive(self.now, heard, ours, &mut acts);
                    waiting.push((to, acts));
                }
            }
        }
    }

    fn active(&self) -> Vec<usize> {
        (0..self.routers.len()).filter(|at| self.routers[*at].state == VrrpState::Active).collect()
    }
}

#[test]
fn a_router_alone_takes_the_gateway_after_the_active_down_interval() {
    let mut link = Link::of(vec![router(1, 100)]);
    // 3 × 1 s and (256 − 100) / 256 s.
    link.run(Nanos::from_millis(3600));
    assert!(link.active().is_empty());
    link.run(Nanos::from_millis(20));
    assert_eq!(link.active(), [0]);
}

#[test]
fn one_that_leaves_is_followed_within_the_skew_time_and_one_that_dies_within_the_down_interval() {
    for (leaves, patience) in [(true, 620), (false, 3620)] {
        let mut link = Link::of(vec![router(1, 200), router(2, 100)]);
        link.run(Nanos::from_millis(8000));
        assert_eq!(link.active(), [0]);
        let mut acts = Vec::new();
        if leaves {
            link.routers[0].leave(&mut acts);
            assert_eq!(acts, [Act::Advertise(LEAVES), Act::Active(false)]);
        }
        link.stands[0] = false;
        link.routers[0].state = VrrpState::Initialize;
        link.hear(0, acts);
        link.run(Nanos::from_millis(patience - 40));
        // The last word of one that died may be almost an interval old.
        assert!(!leaves || link.active().is_empty());
        link.run(Nanos::from_millis(80));
        assert_eq!(link.active(), [1], "leaves: {leaves}");
    }
}

#[test]
fn a_better_one_takes_its_place_unless_it_is_told_not_to() {
    for preempt in [true, false] {
        let better = made(1, |p| (p.priority, p.preempt) = (200, preempt));
        let mut link = Link::of(vec![better, router(2, 100)]);
        link.stands[0] = false;
        link.run(Nanos::from_millis(8000));
        assert_eq!(link.active(), [1]);
        link.stands[0] = true;
        link.run(Nanos::from_millis(8000));
        assert_eq!(link.active(), if preempt { [0] } else { [1] });
    }
}

#[test]
fn the_engine_that_has_fenced_the_other_of_its_pair_does_not_wait() {
    let pair = |place| made(place, |p| (p.priority, p.fenced) = (150, true));
    let mut link = Link::of(vec![pair(1), pair(2), router(9, 100)]);
    link.stands[1] = false;
    link.run(Nanos::from_millis(8000));
    assert_eq!(link.active(), [0]);
    // The lease of the first is over, the second has it.
    link.stands = vec![false, true, true];
    link.run(STEP);
    assert_eq!(link.active(), [1]);
    // A router that stands before both is not pushed aside.
    let mut link = Link::of(vec![pair(1), pair(2), router(9, 200)]);
    link.stands[1] = false;
    link.run(Nanos::from_millis(8000));
    link.stands = vec![false, true, true];
    link.run(Nanos::from_millis(8000));
    assert_eq!(link.active(), [2]);
}

#[test]
fn a_flood_of_worse_advertisements_is_not_answered_one_by_one() {
    let mut link = Link::of(vec![router(1, 200)]);
    link.run(Nanos::from_millis(8000));
    let heard = Heard { from: Ipv4Addr::new(10, 0, 0, 7).into(), priority: 5, interval: INTERVAL };
    let mut acts = Vec::new();
    (0..1000).for_each(|_| link.routers[0].receive(link.now, heard, 200, &mut acts));
    assert_eq!(acts.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whoever comes and goes: when all has been still for a while, the best of those that stand is the gateway, alone.
    #[test]
    fn in_the_end_there_is_one_and_it_is_the_best(
        priorities in prop::collection::vec(1_u8..255, 1..6),
        changes in prop::collection::vec((0_usize..6, any::<bool>(), 0_u64..5000), 0..20),
    ) {
        let routers = priorities.iter().zip(1..).map(|(priority, place)| router(place, *priority)).collect();
        let mut link = Link::of(routers);
        for (at, stands, wait) in changes {
            let at = at % priorities.len();
            link.stands[at] = stands;
            link.run(Nanos::from_millis(wait));
        }
        link.run(Nanos::from_millis(20_000));
        let best = (0..priorities.len()).filter(|at| link.stands[*at]).map(|at| priorities[at]).max();
        // Among equals whoever was there first stays (RFC 9568 §6.4.2).
        let active: Vec<u8> = link.active().into_iter().map(|at| priorities[at]).collect();
        prop_assert_eq!(active, best.into_iter().collect::<Vec<_>>());
    }
}
