//! Every order in which two processes can take their steps, die and lose patience.

use super::*;
use std::collections::{HashSet, VecDeque};

/// What is under way in a direction of the socket. Both ends may be closed, and what was written before is read first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Pipe(VecDeque<u8>);

const READY: u8 = 0;
const OPEN: u8 = 1;
const LISTENING: u8 = 2;
const STATE: u8 = 3;
const HOLDING: u8 = 4;
const YOURS: u8 = 5;
const KEPT: u8 = 6;

/// Both processes and what is between them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    giver: Giver,
    giver_alive: bool,
    /// The giver's end of the socket is open.
    giver_open: bool,
    taker: Taker,
    taker_alive: bool,
    to_giver: Pipe,
    to_taker: Pipe,
    /// The taker may have sent something under the giver's keys.
    taken: bool,
    exclusive: bool,
}

impl World {
    fn new(exclusive: bool) -> World {
        World {
            giver: Giver::Serving,
            giver_alive: true,
            giver_open: true,
            taker: Taker::Waiting,
            taker_alive: true,
            to_giver: Pipe(VecDeque::from([READY])),
            to_taker: Pipe::default(),
            taken: false,
            exclusive,
        }
    }

    /// False if nobody can read it.
    fn say(&mut self, word: u8) -> bool {
        let heard = self.taker_alive && self.taker != Taker::Declined;
        if heard {
            self.to_taker.0.push_back(word);
        }
        heard
    }

    fn give(mut self, event: ToGiver) -> World {
        let (giver, act) = self.giver.step(event);
        self.giver = giver;
        match act {
            Some(Give::Open) => {
                self.say(OPEN);
            }
            Some(Give::Stop) => {
                self.say(STATE);
            }
            Some(Give::Yield) => {
                let written = self.say(YOURS);
                self = self.give(if written { ToGiver::Written } else { ToGiver::Unwritten });
            }
            Some(Give::GoOn) => {
                self.say(KEPT);
                self.giver_open = false;
            }
            Some(Give::End) => (self.giver_alive, self.giver_open) = (false, false),
            None => {}
        }
        self
    }

    fn take(mut self, event: ToTaker) -> World {
        let (taker, act) = self.taker.step(event);
        self.taker = taker;
        let word = match act {
            Some(Take::Listen) => Some(LISTENING),
            Some(Take::Hold) => Some(HOLDING),
            Some(Take::Forward) => {
                self.taken = true;
                None
            }
            Some(Take::StartAnew | Take::Decline) | None => None,
        };
        self.to_giver.0.extend(word.filter(|_| self.giver_open));
        self
    }

    /// What can happen next.
    fn next(&self) -> Vec<World> {
        let mut next = Vec::new();
        if self.giver_open {
            let mut then = self.clone();
            match then.to_giver.0.pop_front() {
                Some(READY) => {
                    let ports = if self.exclusive { Ports::Exclusive } else { Ports::Shared };
                    next.push(then.give(ToGiver::Ready(ports)));
                }
                Some(LISTENING) => next.push(then.give(ToGiver::Listening)),
                Some(HOLDING) => next.push(then.give(ToGiver::Holding)),
                Some(other) => unreachable!("{other} is not said to a giver"),
                None if !self.taker_alive || self.taker == Taker::Declined => {
                    next.push(then.give(ToGiver::Lost));
                }
                None => {}
            }
            // It loses patience whenever it waits.
            if self.giver != Giver::Serving {
                next.push(self.clone().give(ToGiver::Lost));
            }
        }
        if self.taker_alive && self.taker != Taker::Declined {
            let mut then = self.clone();
            match then.to_taker.0.pop_front() {
                Some(OPEN) => next.push(then.take(ToTaker::Open)),
                Some(STATE) => {
                    next.push(then.clone().take(ToTaker::State));
                    // It may be of a kind that it cannot read.
                    next.push(then.take(ToTaker::Kept));
                }
                Some(YOURS) => next.push(then.take(ToTaker::Yours)),
                Some(KEPT) => next.push(then.take(ToTaker::Kept)),
                Some(other) => unreachable!("{other} is not said to a taker"),
                None if !self.giver_open => next.push(then.take(ToTaker::Ended)),
                None => {}
            }
        }
        if self.giver_alive {
            next.push(World { giver_alive: false, giver_open: false, ..self.clone() });
        }
        if self.taker_alive {
            next.push(World { taker_alive: false, ..self.clone() });
        }
        next.retain(|world| world != self);
        next
    }

    fn giver_forwards(&self) -> bool {
        self.giver_alive && self.giver.forwards()
    }

    fn taker_forwards(&self) -> bool {
        self.taker_alive && matches!(self.taker, Taker::Forwarding | Taker::Anew)
    }

    fn check(&self) {
        assert!(!(self.giver_forwards() && self.taker_forwards()), "two forward: {self:?}");
        // Whatever becomes of the taker later, its keys are never the giver's again.
        assert!(!(self.taken && self.giver_forwards()), "a nonce may repeat: {self:?}");
        if self.taker == Taker::Anew {
            assert!(
                !self.giver_alive,
                "a process that lives is not replaced by one that starts anew: {self:?}"
            );
        }
    }

    /// Nothing is under way any more: somebody must forward, if a process is left that has not been told to end.
    fn check_end(&self) {
        let left = self.giver_alive || self.taker_alive && self.taker != Taker::Declined;
        let forwards = self.giver_forwards() || self.taker_forwards();
        assert!(!left || forwards, "nobody forwards: {self:?}");
        if !self.taken && self.giver_alive {
            assert!(self.giver_forwards(), "the giver goes on: {self:?}");
        }
    }
}

#[test]
fn at_most_one_forwards_and_somebody_does_whatever_dies() {
    for exclusive in [false, true] {
        let (mut seen, mut todo) = (HashSet::new(), vec![World::new(exclusive)]);
        let (mut ends, mut handed_over) = (0, 0);
        while let Some(world) = todo.pop() {
            if !seen.insert(world.clone()) {
                continue;
            }
            world.check();
            let next = world.next();
            // Deaths aside, nothing can happen: it has come to an end.
            let quiet = next
                .iter()
                .all(|then| (then.giver_alive, then.taker_alive) != (world.giver_alive, world.taker_alive));
            if quiet {
                world.check_end();
                ends += 1;
                handed_over += usize::from(world.taker == Taker::Forwarding && world.taker_alive);
            }
            todo.extend(next);
        }
        assert!(ends > 10 && handed_over > 0, "{} states, {ends} ends, {handed_over}", seen.len());
    }
}

#[test]
fn only_the_same_engine_in_the_same_words_may_follow() {
    let old = Candidate {
        version: VERSION,
        engine: "a1".into(),
        site: "a".into(),
        workers: 2,
        ports: Ports::Shared,
    };
    assert_eq!(old.may_be_followed_by(&old), Ok(()));
    assert_eq!(old.may_be_followed_by(&Candidate { ports: Ports::Exclusive, ..old.clone() }), Ok(()));
    let refused = |other: Candidate| old.may_be_followed_by(&other).unwrap_err();
    assert!(refused(Candidate { version: VERSION + 1, ..old.clone() }).contains("start anew"));
    assert!(refused(Candidate { engine: "a2".into(), ..old.clone() }).contains("engine a1"));
    assert!(refused(Candidate { site: "b".into(), ..old.clone() }).contains("site a"));
    assert!(refused(Candidate { workers: 1, ..old.clone() }).contains("dpdk.cores"));
}
