//! The channels that bring one engine's sessions to the other: octets in order, late, or, when a channel breaks, not at all.

use crate::network::{Direction, Link};
use crate::rng::Rng;
use dataplane::id::Nanos;
use std::collections::{BTreeMap, VecDeque};

/// A segment that is lost on the way comes this much later.
const RETRANSMIT: Nanos = Nanos::from_millis(200);
/// A channel on which nothing moves breaks after this.
const TIMEOUT: Nanos = Nanos::from_millis(1500);
/// It is dialed again after this.
const AGAIN: Nanos = Nanos::from_millis(300);
/// One end may hear so much later than the other that it is broken.
const HEARD_LATE: u64 = 400_000_000;

/// What an end of a channel learns. The first of a pair brings its sessions to the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// It is there.
    Up,
    /// It is gone.
    Down,
    /// The octets of a frame came.
    Frame(Vec<u8>),
}

/// One channel.
#[derive(Debug, Default)]
struct Channel {
    up: bool,
    /// Since when it is up, and everything on it moves.
    sound_since: Option<Nanos>,
    stuck_since: Option<Nanos>,
    again: Nanos,
    /// To the second end, and back: when it comes.
    ways: [VecDeque<(Nanos, Learnt)>; 2],
}

/// All of them.
#[derive(Debug)]
pub struct Channels(BTreeMap<Direction, Channel>);

impl Channels {
    /// None is up.
    pub fn new(pairs: &[Direction]) -> Channels {
        Channels(pairs.iter().map(|pair| (*pair, Channel::default())).collect())
    }

    /// One end of a channel sends a frame.
    pub fn send(
        &mut self,
        (pair, back): (Direction, bool),
        octets: Vec<u8>,
        now: Nanos,
        link: &Link,
        rng: &mut Rng,
    ) {
        let Some(channel) = self.0.get_mut(&pair).filter(|channel| channel.up) else { return };
        let mut at = now.plus(link.delay);
        while link.loss < 1.0 && rng.chance(link.loss) {
            at = at.plus(RETRANSMIT);
            channel.sound_since = None;
        }
        let way = &mut channel.ways[usize::from(back)];
        let at = at.max(way.back().map_or(Nanos(0), |(last, _)| *last));
        way.push_back((at, Learnt::Frame(octets)));
    }

    /// For how long a channel has been up without a hitch: nothing was lost on the way, and nothing stood still.
    pub fn sound(&self, pair: Direction, now: Nanos) -> Nanos {
        let since = self.0.get(&pair).and_then(|channel| channel.sound_since);
        since.map_or(Nanos(0), |since| now.since(since))
    }

    /// A channel breaks, with all that is on its way. Each end learns it in its own time.
    pub fn cut(&mut self, pair: Direction, now: Nanos, rng: &mut Rng) {
        let Some(channel) = self.0.get_mut(&pair).filter(|channel| channel.up) else { return };
        (channel.up, channel.stuck_since, channel.again) = (false, None, now.plus(AGAIN));
        channel.sound_since = None;
        for way in &mut channel.ways {
            way.retain(|(_, learnt)| *learnt == Learnt::Up);
            way.push_back((now.plus(Nanos(rng.below(HEARD_LATE))), Learnt::Down));
        }
    }

    /// What the ends learn by now: (channel, whether it is its first end, what).
    pub fn poll(
        &mut self,
        now: Nanos,
        links: &BTreeMap<Direction, Link>,
        alive: impl Fn(&str) -> bool,
        runs: impl Fn(&str) -> bool,
        rng: &mut Rng,
    ) -> Vec<(Direction, bool, Learnt)> {
        let pairs: Vec<Direction> = self.0.keys().copied().collect();
        let mut learnt = Vec::new();
        for pair in pairs {
            let (there, back) = (links[&pair].passes(now), links[&(pair.1, pair.0)].passes(now));
            let channel = self.0.get_mut(&pair).expect("one of them");
            let moves = there && back && runs(pair.0) && runs(pair.1);
            let since = if moves { None } else { Some(channel.stuck_since.unwrap_or(now)) };
            channel.stuck_since = since;
            let dead = !alive(pair.0) || !alive(pair.1);
            if channel.up && (dead || since.is_some_and(|since| now.since(since) >= TIMEOUT)) {
                self.cut(pair, now, rng);
            } else if !channel.up
                && moves
                && now >= channel.again
                && channel.ways.iter().all(VecDeque::is_empty)
            {
                channel.up = true;
                channel.ways.iter_mut().for_each(|way| way.push_back((now, Learnt::Up)));
            }
            let channel = self.0.get_mut(&pair).expect("one of them");
            let sound = channel.up && moves;
            channel.sound_since = channel.sound_since.or(Some(now)).filter(|_| sound);
            for (back, passes) in [(false, there), (true, back)] {
                let (way, to) = (&mut channel.ways[usize::from(back)], if back { pair.0 } else { pair.1 });
                while let Some((at, what)) = way.front()
                    && *at <= now
                    && (!alive(to) || (runs(to) && (passes || !matches!(what, Learnt::Frame(_)))))
                {
                    learnt.extend(way.pop_front().map(|(_, what)| (pair, back, what)));
                }
            }
        }
        learnt
    }
}
