//! The sessions of one worker.

use super::index::{Hash, HashKeys, Index};
use super::session::{NewSession, Session, SessionKey, Slot};
use super::shadowing::Shadowing;
use super::state::{Phase, Timeouts, Track};
use super::tuple::{AnyTuple, Upper};
use crate::id::Nanos;
use crate::packet::BURST;
use arrayvec::ArrayVec;
use std::hint::black_box;

/// No slot: the end of the free list.
const NONE: u32 = u32::MAX;
/// The whole table is swept in this time.
const SWEEP: u64 = 1_000_000_000;
/// Deadlines looked at in one step, at least and at most.
const STEP: std::ops::Range<usize> = 64..4096;
/// Sessions removed in one step.
const REMOVED: usize = 32;
/// Sessions looked at for one to evict.
const SAMPLE: usize = 16;

/// A place in the table; what it holds changes once its session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub(super) u32);

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the side that sent the first packet.
    Forward,
    /// To it.
    Reverse,
}

/// A packet's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The session.
    pub id: SessionId,
    /// Which side sent the packet.
    pub direction: Direction,
}

/// What a new flow meets in a full table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// It is refused.
    DropNew,
    /// The idlest of a sample of 16 sessions that are still opening makes room; if there is none, it is refused.
    #[default]
    EvictOpening,
}

/// What a table is made for.
#[derive(Clone, Copy, Debug)]
pub struct SessionConfig {
    /// Most live sessions.
    pub capacity: u32,
    /// Whether sessions may be translated: a second index entry for each.
    pub nat: bool,
    /// Idle times.
    pub timeouts: Timeouts,
    /// What happens to a new flow then.
    pub when_full: WhenFull,
}

/// A second of the engine's clock; wraps after 18 hours, twice the range of what is compared.
#[derive(Clone, Copy, Debug)]
pub struct Second(u16);

impl From<Nanos> for Second {
    #[inline]
    fn from(now: Nanos) -> Second {
        Second(second(now))
    }
}

/// What became of a packet of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It passes as it is.
    Plain,
    /// It passes, translated.
    Translated,
    /// It waits until the rules of now were asked about its session.
    Outdated,
    /// Its session has ended.
    Gone,
}

/// No room for another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session table is full")]
pub struct Full;

/// See the module.
pub struct SessionTable {
    keys: HashKeys,
    index: Index,
    pub(super) slots: Box<[Slot]>,
    /// By slot: the second, wrapping, before which its session has not ended.
    pub(super) deadlines: Box<[u16]>,
    free: u32,
    live: u32,
    pub(super) config: SessionConfig,
    /// What other engines have of it, and it of theirs; `None` where nothing is shadowed.
    pub(super) shadowing: Option<Box<Shadowing>>,
    /// Next deadline to look at.
    hand: usize,
    swept_at: Nanos,
}

impl SessionTable {
    /// An empty table. Allocates and writes everything it will ever use.
    pub fn new(config: SessionConfig, keys: HashKeys, now: Nanos) -> SessionTable {
        let capacity = config.capacity.clamp(1, NONE - 1) as usize;
        let next = |slot: usize| if slot + 1 < capacity { slot as u32 + 1 } else { NONE };
        SessionTable {
            keys,
            index: Index::new(capacity * (1 + usize::from(config.nat))),
            slots: (0..capacity).map(|slot| Slot::Free(next(slot))).collect(),
            // Not zero, so that the pages are written.
            deadlines: vec![second(now).wrapping_add(Timeouts::MAX) | 1; capacity].into(),
            free: 0,
            live: 0,
            config,
            shadowing: None,
            hand: 0,
            swept_at: now,
        }
    }

    /// Live sessions.
    #[inline]
    pub const fn len(&self) -> usize {
        self.live as usize
    }

    /// True without any session.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Most live sessions.
    pub const fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Memory, bytes.
    pub fn bytes(&self) -> usize {
        self.index.bytes() + size_of_val(&*self.slots) + size_of_val(&*self.deadlines)
    }

    /// The session of `id`, if it is live.
    #[inline]
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        match self.slots.get(id.0 as usize) {
            Some(Slot::Live(session)) => Some(session),
            _ => None,
        }
    }

    /// The same, to change. The caller leaves `key` as it is.
    #[inline]
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        match self.slots.get_mut(id.0 as usize) {
            Some(Slot::Live(session)) => Some(session),
            _ => None,
        }
    }

    /// The session of a packet of the flow `tuple`.
    #[inline]
    pub fn lookup(&self, tuple: &AnyTuple) -> Option<Hit> {
        let hash = self.keys.flow(tuple);
        self.find(hash, tuple)
    }

    #[inline]
    fn find(&self, hash: Hash, tuple: &AnyTuple) -> Option<Hit> {
        let slot = self.index.find(hash, |slot| self.direction(slot, tuple).is_some())?;
        Some(Hit { id: SessionId(slot), direction: self.direction(slot, tuple)? })
    }

    /// Which direction of the session in `slot` looks like `tuple`.
    #[inline]
    fn direction(&self, slot: u32, tuple: &AnyTuple) -> Option<Direction> {
        let Some(Slot::Live(session)) = self.slots.get(slot as usize) else { return None };
        match (&session.key, tuple) {
            (SessionKey::V4 { forward, .. }, AnyTuple::V4(tuple)) if forward == tuple => {
                Some(Direction::Forward)
            }
            (SessionKey::V4 { reverse, .. }, AnyTuple::V4(tuple)) if reverse == tuple => {
                Some(Direction::Reverse)
            }
            (SessionKey::V6(forward), AnyTuple::V6(tuple)) if forward == tuple => Some(Direction::Forward),
            (SessionKey::V6(forward), AnyTuple::V6(tuple)) if *forward == tuple.reversed() => {
                Some(Direction::Reverse)
            }
            _ => None,
        }
    }

    /// The sessions of a burst, in order. Index lines of the whole burst are read before the first record: the misses
    /// overlap.
    #[inline]
    pub fn lookup_burst<T: AsRef<AnyTuple>>(&self, tuples: &[T], hits: &mut ArrayVec<Option<Hit>, BURST>) {
        hits.clear();
        for tuples in tuples.chunks(BURST) {
            let mut hashes = [Hash::default(); BURST];
            let mut candidates = [NONE; BURST];
            for (hash, tuple) in hashes.iter_mut().zip(tuples) {
                *hash = self.keys.flow(tuple.as_ref());
            }
            self.index.candidates(&hashes[..tuples.len()], &mut candidates);
            self.touch(&candidates[..tuples.len()]);
            for ((tuple, &hash), &candidate) in tuples.iter().zip(&hashes).zip(&candidates) {
                let hit = match self.direction(candidate, tuple.as_ref()) {
                    Some(direction) => Some(Hit { id: SessionId(candidate), direction }),
                    None => self.find(hash, tuple.as_ref()),
                };
                let _ = hits.try_push(hit);
            }
        }
    }

    /// Reads the records of a burst, so that their misses overlap.
    #[inline]
    fn touch(&self, slots: &[u32]) {
        let mut read = 0;
        for &slot in slots {
            if let Some(Slot::Live(session)) = self.slots.get(slot as usize) {
                read ^= session.generation;
            }
        }
        black_box(read);
    }

    /// A packet of a session, which the rules of `generation` permitted, passes: noted, and how that changes it.
    #[inline]
    pub fn pass(&mut self, hit: Hit, upper: Upper, second: Second, generation: u32) -> Passed {
        let Some(Slot::Live(session)) = self.slots.get_mut(hit.id.0 as usize) else { return Passed::Gone };
        if session.generation != generation {
            return Passed::Outdated;
        }
        session.seen = second.0;
        let before = session.track;
        session.track = match hit.direction {
            Direction::Forward => {
                session.forward_packets = session.forward_packets.wrapping_add(1);
                session.track.forward(upper)
            }
            Direction::Reverse => session.track.reverse(upper),
        };
        let translated = session.translated;
        // A shorter idle time counts from now on.
        if matches!(upper, Upper::Tcp(_)) && session.phase() == Phase::Closing {
            self.deadlines[hit.id.0 as usize] = second.0.wrapping_add(self.config.timeouts.tcp_closing);
        }
        if session.track != before {
            self.tell_live(hit.id);
        }
        if translated { Passed::Translated } else { Passed::Plain }
    }

    /// A new session, whose packets must have none yet. If the table is full, one that is opening may make room for
    /// it and is given to `ended`.
    pub fn insert(
        &mut self,
        new: &NewSession,
        now: Nanos,
        ended: impl FnOnce(Session),
    ) -> Result<SessionId, Full> {
        if self.free == NONE {
            match self.config.when_full {
                WhenFull::DropNew => return Err(Full),
                WhenFull::EvictOpening => ended(self.evict(now).ok_or(Full)?),
            }
        }
        let slot = self.free;
        let Slot::Free(next) = self.slots[slot as usize] else { return Err(Full) };
        let (forward, reverse) = self.hashes(&new.key);
        if !self.index.insert(forward, slot) {
            return Err(Full);
        }
        if let Some(reverse) = reverse
            && !self.index.insert(reverse, slot)
        {
            self.index.remove(forward, slot);
            return Err(Full);
        }
        let track = Track::first(new.upper);
        let timeout = track.timeout(new.key.protocol(), &self.config.timeouts);
        self.deadlines[slot as usize] = second(now).wrapping_add(timeout);
        self.slots[slot as usize] = Slot::Live(Session {
            key: new.key,
            generation: new.generation,
            rule: new.rule,
            forward_packets: 1,
            input: new.input,
            seen: second(now),
            track,
            translated: new.key.is_translated(),
        });
        self.free = next;
        self.live += 1;
        self.tell_live(SessionId(slot));
        Ok(SessionId(slot))
    }

    /// The hashes under which a session is entered: one if both directions have the same.
    fn hashes(&self, key: &SessionKey) -> (Hash, Option<Hash>) {
        let forward = self.keys.flow(&key.forward());
        (forward, key.is_translated().then(|| self.keys.flow(&key.reverse())))
    }

    /// Ends a session. `None` if it was not live.
    pub fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = *self.get(id)?;
        let (forward, reverse) = self.hashes(&session.key);
        self.index.remove(forward, id.0);
        if let Some(reverse) = reverse {
            self.index.remove(reverse, id.0);
        }
        self.slots[id.0 as usize] = Slot::Free(self.free);
        self.free = id.0;
        self.live -= 1;
        self.tell_ended(id, &session.key);
        Some(session)
    }

    /// Ends the idlest opening session of those under the hand.
    fn evict(&mut self, now: Nanos) -> Option<Session> {
        let sample = (0..SAMPLE).map(|step| (self.hand + step) % self.slots.len());
        let opening = sample.filter_map(|slot| match &self.slots[slot] {
            Slot::Live(session) if session.phase() == Phase::Opening => {
                Some((second(now).wrapping_sub(session.seen), slot))
            }
            _ => None,
        });
        let found = opening.max().map(|(_, slot)| slot);
        self.hand = (self.hand + SAMPLE) % self.slots.len();
        self.remove(SessionId(found? as u32))
    }

    /// Ends sessions that were idle for too long, a few each time, and gives each to `ended`. Called once a poll it
    /// passes over the whole table once a second.
    #[inline]
    pub fn sweep(&mut self, now: Nanos, ended: impl FnMut(Session)) {
        let due =
            (u128::from(now.since(self.swept_at).0) * self.slots.len() as u128 / u128::from(SWEEP)) as usize;
        if due >= STEP.start.min(self.slots.len()) {
            self.sweep_step(due.min(STEP.end).min(self.slots.len()), now, ended);
        }
    }

    fn sweep_step(&mut self, many: usize, now: Nanos, mut ended: impl FnMut(Session)) {
        self.swept_at = now;
        let second = second(now);
        let mut removed = 0;
        for _ in 0..many {
            let slot = self.hand;
            self.hand = if slot + 1 == self.slots.len() { 0 } else { slot + 1 };
            if second.wrapping_sub(self.deadlines[slot]) > u16::MAX / 2 {
                continue; // not yet
            }
            match self.idle_until(slot, second) {
                Some(deadline) => {
                    self.deadlines[slot] = deadline;
                    self.tell_live(SessionId(slot as u32));
                }
                None => {
                    self.remove(SessionId(slot as u32)).into_iter().for_each(&mut ended);
                    removed += 1;
                    if removed == REMOVED {
                        return;
                    }
                }
            }
        }
    }

    /// The next deadline of a slot whose last one has passed; `None` if its session has been idle for too long.
    fn idle_until(&self, slot: usize, second: u16) -> Option<u16> {
        let Slot::Live(session) = &self.slots[slot] else {
            return Some(second.wrapping_add(Timeouts::MAX));
        };
        let timeout = session.track.timeout(session.key.protocol(), &self.config.timeouts);
        let (seen, timeout) = match &self.shadowing {
            Some(shadowing) => shadowing.lifetime(slot, session.seen, timeout),
            None => (session.seen, timeout),
        };
        let idle = second.wrapping_sub(seen);
        (idle < timeout).then(|| seen.wrapping_add(timeout))
    }
}

#[inline]
pub(super) fn second(now: Nanos) -> u16 {
    (now.0 / 1_000_000_000) as u16
}
