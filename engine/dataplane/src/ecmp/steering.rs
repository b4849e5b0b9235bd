//! How a worker follows its group's table without reordering: flowlet switching (LetFlow, NSDI 2017), and behind a
//! MARK what never pauses ([`super::mark`]).

use super::{BUCKETS, BucketTable};
use crate::id::{Bucket, Nanos, TunnelId};

/// Nanoseconds of a tick, as a power of two: 65.5 µs.
const TICK_BITS: u32 = 16;
/// A bucket silent for so long had no flow under way: about a second.
const IDLE_TICKS: u32 = 1 << 14;
/// Not a tick of any time: the bucket has had no packet yet.
const NEVER: u32 = 0;
/// In place of a tunnel: packets of the bucket wait behind a MARK.
const HELD: TunnelId = TunnelId(u16::MAX);
/// In place of a tunnel: the bucket's last packet was handed over by the other engine of the site.
const LINK: TunnelId = TunnelId(u16::MAX - 1);

/// Why a bucket moved to another tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveKind {
    /// It was silent for a second or more.
    Idle,
    /// It was silent for the flowlet gap: a packet on the new path cannot overtake.
    Gap,
    /// It had no gap by its deadline: it waited behind a MARK.
    Marked,
    /// Its tunnel is no longer usable.
    Failed,
}

/// A bucket's move, as seen with the first packet after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The tunnel that it left.
    pub from: TunnelId,
    /// Why.
    pub kind: MoveKind,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steered {
    /// Into `tunnel`; `moved` is set if its bucket moved with this very packet.
    To { tunnel: TunnelId, moved: Option<Moved> },
    /// Behind the packets of its bucket that wait for a MARK, or as the first of them.
    Waits,
}

/// The way that a bucket leaves when it moves behind a MARK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// This tunnel.
    Tunnel(TunnelId),
    /// Over the site link: the other engine of the site handed its packets over.
    Link,
}

/// Moves by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// See [`MoveKind::Idle`].
    pub idle: u64,
    /// See [`MoveKind::Gap`].
    pub gap: u64,
    /// See [`MoveKind::Marked`].
    pub marked: u64,
    /// See [`MoveKind::Failed`].
    pub failed: u64,
}

/// Six bytes, so that most lookups touch one cache line.
#[derive(Clone, Copy)]
struct Slot {
    current: TunnelId,
    /// The tick of the last packet; of a bucket that is [`HELD`], how many packets wait.
    seen: [u16; 2],
}

impl Slot {
    fn seen(self) -> u32 {
        u32::from(self.seen[0]) << 16 | u32::from(self.seen[1])
    }

    /// What to do where `current` is no tunnel that can be used.
    #[cold]
    fn elsewhere(&mut self, silent: u32, hold: impl FnOnce(Old) -> bool) -> Elsewhere {
        match self.current {
            HELD => {
                self.seen = halves(self.seen().saturating_add(1));
                Elsewhere::Waits
            }
            // A shorter silence here says nothing: the next packet may be on the cable already.
            LINK if silent > IDLE_TICKS => Elsewhere::Left(MoveKind::Idle),
            LINK if hold(Old::Link) => {
                *self = Slot { current: HELD, seen: halves(1) };
                Elsewhere::Waits
            }
            _ => Elsewhere::Left(MoveKind::Failed),
        }
    }
}

/// See [`Slot::elsewhere`].
enum Elsewhere {
    Waits,
    Left(MoveKind),
}

/// One worker's view of one group: the tunnel each bucket uses now, and when it was last used.
pub struct Steering {
    slots: Box<[Slot; BUCKETS as usize]>,
    moves: Moves,
}

impl Default for Steering {
    fn default() -> Steering {
        Steering::new()
    }
}

impl Steering {
    /// No bucket seen yet. Allocates 384 KiB, once.
    pub fn new() -> Steering {
        let slots = vec![Slot { current: TunnelId(0), seen: [0; 2] }; BUCKETS as usize];
        let Ok(slots) = slots.into_boxed_slice().try_into() else { unreachable!("as many as BUCKETS") };
        Steering { slots, moves: Moves::default() }
    }

    /// Where a packet of `bucket` goes, which counts as use of it. A bucket follows the table once it was silent for
    /// `flowlet_gap`; from `move_deadline` on it waits behind a MARK if `hold` admits it, and stays where it is if not; it
    /// goes at once if its tunnel is not `usable`. `None` if no member is usable.
    ///
    /// Use is kept in ticks of 65.5 µs modulo 2^32: a gap is never taken for longer than it was, and a
    /// bucket silent for a multiple of 3.3 days may stay until its next gap.
    #[inline]
    pub fn steer(
        &mut self,
        table: &BucketTable,
        bucket: Bucket,
        now: Nanos,
        (flowlet_gap, move_deadline): (Nanos, Nanos),
        usable: impl Fn(TunnelId) -> bool,
        hold: impl FnOnce(Old) -> bool,
    ) -> Option<Steered> {
        let slot = &mut self.slots[usize::from(bucket.0)];
        let (seen, from) = (slot.seen(), slot.current);
        let tick = tick_of(now);
        let silent = tick.wrapping_sub(seen);

        let target = table.target(bucket);
        let kind = if seen == NEVER {
            None
        } else if !usable(from) {
            match slot.elsewhere(silent, hold) {
                Elsewhere::Waits => return Some(Steered::Waits),
                Elsewhere::Left(kind) => Some(kind),
            }
        } else if target == from || !usable(target) {
            slot.seen = halves(tick);
            return Some(Steered::To { tunnel: from, moved: None });
        } else if longer_than(silent, flowlet_gap) {
            Some(if silent > IDLE_TICKS { MoveKind::Idle } else { MoveKind::Gap })
        } else if now >= move_deadline && hold(Old::Tunnel(from)) {
            *slot = Slot { current: HELD, seen: halves(1) };
            return Some(Steered::Waits);
        } else {
            slot.seen = halves(tick);
            return Some(Steered::To { tunnel: from, moved: None });
        };

        let tunnel = table.usable_target(bucket, usable)?;
        *slot = Slot { current: tunnel, seen: halves(tick) };
        self.moves.count(kind);
        // A packet that was handed over was in no tunnel of this engine.
        let moved = kind.filter(|_| from != LINK).map(|kind| Moved { from, kind });
        Some(Steered::To { tunnel, moved })
    }

    /// Notes that a packet of `bucket` came over the site link and leaves by a tunnel of our own.
    #[inline]
    pub fn handed_over(&mut self, bucket: Bucket, now: Nanos) {
        let slot = &mut self.slots[usize::from(bucket.0)];
        if slot.current != HELD {
            *slot = Slot { current: LINK, seen: halves(tick_of(now)) };
        }
    }

    /// Notes that the other engine of the site had the hosts' traffic until now: its last packets may be on the cable.
    #[cold]
    pub fn taken_over(&mut self, now: Nanos) {
        let moving = self.slots.iter_mut().filter(|slot| slot.current != HELD);
        moving.for_each(|slot| *slot = Slot { current: LINK, seen: halves(tick_of(now)) });
    }

    /// Notes that the oldest waiting packet of `bucket` goes into `tunnel`. True with the last one: the bucket is there.
    pub fn released(&mut self, bucket: Bucket, tunnel: TunnelId, now: Nanos, kind: Option<MoveKind>) -> bool {
        let slot = &mut self.slots[usize::from(bucket.0)];
        debug_assert_eq!(slot.current, HELD, "a packet waited of a bucket that is not held");
        let left = slot.seen().saturating_sub(1);
        if left > 0 {
            slot.seen = halves(left);
            return false;
        }
        *slot = Slot { current: tunnel, seen: halves(tick_of(now)) };
        self.moves.count(kind);
        true
    }

    /// Moves so far.
    pub fn moves(&self) -> Moves {
        self.moves
    }
}

impl Moves {
    fn count(&mut self, kind: Option<MoveKind>) {
        match kind {
            None => {}
            Some(MoveKind::Idle) => self.idle += 1,
            Some(MoveKind::Gap) => self.gap += 1,
            Some(MoveKind::Marked) => self.marked += 1,
            Some(MoveKind::Failed) => self.failed += 1,
        }
    }
}

fn tick_of(now: Nanos) -> u32 {
    ((now.0 >> TICK_BITS) as u32).max(1)
}

fn halves(tick: u32) -> [u16; 2] {
    [(tick >> 16) as u16, tick as u16]
}

/// True if `silent` ticks are surely no less than `gap`: both ends were rounded down, so the time
/// between was more than one tick less.
#[inline]
fn longer_than(silent: u32, gap: Nanos) -> bool {
    gap.0 == 0 || u64::from(silent) > gap.0.div_ceil(1 << TICK_BITS)
}
