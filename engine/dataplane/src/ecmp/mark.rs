//! Moving buckets that never pause, in order: behind a MARK.
//!
//! A bucket that has had no flowlet gap by its deadline is held. A MARK follows its last packet down the old path, and
//! the far end answers it as it answers any probe (RFC 8762). With the answer home, all that went before has arrived
//! there, and the held packets go on by the new path. Without one they wait until a time that the old path surely needs no
//! longer. Nobody but this worker holds anything, so that the far end may be anyone who reflects probes.
//!
//! Rounds: one MARK at a time, for the buckets of one group that leave one way; over the site link for all that came by it, as
//! those have no way that they could stay on. Where more is held than there is room for,
//! the round is called off: everything goes on by the old path, in order, and later fewer buckets try at once.

use super::Old;
use crate::id::{Bucket, GroupId, Nanos, TunnelId};
use crate::packet::BURST;
use std::collections::VecDeque;

/// Most packets that wait on one worker.
pub const WAITING_MAX: usize = 4096;
/// Room that is left when a round is called off: for what comes while it ends.
const RESERVE: usize = WAITING_MAX / 4;
/// Buckets of the first round.
const FIRST_BUCKETS: u32 = 256;
/// Times the bound of a round that was called off, until the next.
const PAUSE: u64 = 8;
/// What waited goes on so many times as fast as it came, but for a burst: all at once would overrun the next queue.
const HASTE: u64 = 4;

/// What a round is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// The group whose buckets move.
    pub group: GroupId,
    /// The way that they leave.
    pub old: Old,
    /// The tunnel that the MARK goes down, and comes back by.
    pub tunnel: TunnelId,
}

impl Round {
    /// Whether the MARK is behind the packets of a bucket that asks for this one, too.
    fn serves(self, asked: Round, buckets_left: bool) -> bool {
        match self.old {
            Old::Link => asked.old == Old::Link && asked.tunnel == self.tunnel,
            Old::Tunnel(_) => asked == self && buckets_left,
        }
    }
}

/// How a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By the new path.
    Onward,
    /// By the old path: there was no room to wait.
    Back,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Rest,
    /// `taken` buckets wait for MARK `sequence`, at most until `until`.
    Waiting {
        round: Round,
        until: Nanos,
        taken: u32,
        answered: bool,
    },
    /// They go, since then.
    Releasing {
        round: Round,
        end: End,
        since: Nanos,
    },
}

/// Whether a bucket is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is the first of a new round: send this MARK.
    First { sequence: u32 },
    /// It is; the MARK is under way.
    Admitted,
    /// Not in this round.
    Refused,
}

/// One worker's held packets, of whatever kind `P`, and the round they are in. Allocates only at creation.
pub struct Marks<P> {
    phase: Phase,
    begun: Nanos,
    bound: Nanos,
    not_before: Nanos,
    /// How long the packets that go took to come, how many they were, and how many have gone.
    came_in: Nanos,
    came: u64,
    gone: u64,
    sequence: u32,
    buckets: u32,
    waiting: VecDeque<(Bucket, P)>,
}

impl<P> Default for Marks<P> {
    fn default() -> Marks<P> {
        Marks {
            phase: Phase::Rest,
            begun: Nanos(0),
            bound: Nanos(0),
            not_before: Nanos(0),
            came_in: Nanos(0),
            came: 0,
            gone: 0,
            sequence: 0,
            buckets: FIRST_BUCKETS,
            waiting: VecDeque::with_capacity(WAITING_MAX),
        }
    }
}

impl<P> Marks<P> {
    /// Whether one more bucket may be held. A bucket that is refused stays on its old path for the rest of the round:
    /// what it sends from then on is behind the MARK.
    pub fn admit(&mut self, asked: Round, now: Nanos, bound: Nanos) -> Admission {
        match &mut self.phase {
            Phase::Rest if now < self.not_before => Admission::Refused,
            Phase::Rest => {
                self.sequence = self.sequence.wrapping_add(1);
                (self.begun, self.bound) = (now, bound);
                let until = now.plus(bound);
                self.phase = Phase::Waiting { round: asked, until, taken: 1, answered: false };
                Admission::First { sequence: self.sequence }
            }
            Phase::Waiting { round, taken, answered: false, .. }
                if round.serves(asked, *taken < self.buckets) =>
            {
                *taken += 1;
                Admission::Admitted
            }
            Phase::Waiting { .. } | Phase::Releasing { .. } => Admission::Refused,
        }
    }

    /// Keeps a packet of a held bucket; gives it back if there is no room.
    pub fn push(&mut self, bucket: Bucket, packet: P, now: Nanos) -> Result<(), P> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(packet);
        }
        self.waiting.push_back((bucket, packet));
        if let Phase::Waiting { round, answered: false, .. } = self.phase
            && self.waiting.len() >= WAITING_MAX - RESERVE
        {
            self.buckets = (self.buckets / 4).max(1);
            self.not_before = self.begun.plus(Nanos(PAUSE * self.bound.0));
            self.release(round, End::Back, now);
        }
        Ok(())
    }

    fn release(&mut self, round: Round, end: End, now: Nanos) {
        (self.came_in, self.came, self.gone) = (now.since(self.begun), self.waiting.len() as u64, 0);
        self.phase = Phase::Releasing { round, end, since: now };
    }

    /// An answer came by `tunnel`. True if it is the one that is waited for.
    pub fn answered(&mut self, by: TunnelId, number: u32) -> bool {
        match &mut self.phase {
            Phase::Waiting { round, answered, .. }
                if round.tunnel == by && self.sequence == number && !*answered =>
            {
                *answered = true;
                true
            }
            _ => false,
        }
    }

    /// Packets that wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The round under way.
    pub fn round(&self) -> Option<Round> {
        match self.phase {
            Phase::Rest => None,
            Phase::Waiting { round, .. } | Phase::Releasing { round, .. } => Some(round),
        }
    }

    /// What ends now: the round, how, and how long it waited if that was just found out. `usable` tells whether a tunnel
    /// still is: nobody answers from one that is not.
    pub fn due(
        &mut self,
        now: Nanos,
        usable: impl Fn(TunnelId) -> bool,
    ) -> Option<(Round, End, Option<Nanos>)> {
        match self.phase {
            Phase::Rest => None,
            Phase::Waiting { round, until, answered, .. } => {
                if !answered && now < until && usable(round.tunnel) {
                    return None;
                }
                self.buckets = self.buckets.saturating_mul(2).min(super::BUCKETS);
                self.release(round, End::Onward, now);
                Some((round, End::Onward, Some(self.came_in)))
            }
            Phase::Releasing { round, end, .. } => Some((round, end, None)),
        }
    }

    /// The oldest packet, if it may go by now; with the last one the round is over.
    pub fn pop(&mut self, now: Nanos) -> Option<(Bucket, P)> {
        let Phase::Releasing { since, .. } = self.phase else { return None };
        let hasty = (HASTE * self.came * now.since(since).0).checked_div(self.came_in.0);
        if hasty.is_some_and(|many| self.gone >= many + BURST as u64) && !self.waiting.is_empty() {
            return None;
        }
        self.gone += 1;
        let oldest = self.waiting.pop_front();
        if oldest.is_none() {
            self.phase = Phase::Rest;
        }
        oldest
    }
}
