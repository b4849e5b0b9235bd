//! How a worker follows its group's table without reordering: flowlet switching (LetFlow, NSDI 2017).

use super::{BUCKETS, BucketTable};
use crate::id::{Bucket, Nanos, TunnelId};

/// Nanoseconds of a tick, as a power of two: 65.5 µs.
const TICK_BITS: u32 = 16;
/// A bucket silent for so long had no flow under way: about a second.
const IDLE_TICKS: u32 = 1 << 14;
/// Not a tick of any time: the bucket has had no packet yet.
const NEVER: u32 = 0;

/// Why a bucket moved to another tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveKind {
    /// It was silent for a second or more.
    Idle,
    /// It was silent for the flowlet gap: a packet on the new path cannot overtake.
    Gap,
    /// The deadline passed without a gap: the packet before may be overtaken, unless a MARK follows it.
    Forced,
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
pub struct Steered {
    /// The tunnel.
    pub tunnel: TunnelId,
    /// Set if its bucket moved with this very packet.
    pub moved: Option<Moved>,
}

/// Moves by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// See [`MoveKind::Idle`].
    pub idle: u64,
    /// See [`MoveKind::Gap`].
    pub gap: u64,
    /// See [`MoveKind::Forced`].
    pub forced: u64,
    /// See [`MoveKind::Failed`].
    pub failed: u64,
}

/// Six bytes, so that most lookups touch one cache line.
#[derive(Clone, Copy)]
struct Slot {
    current: TunnelId,
    seen: [u16; 2],
}

impl Slot {
    fn seen(self) -> u32 {
        u32::from(self.seen[0]) << 16 | u32::from(self.seen[1])
    }
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

    /// The tunnel for a packet of `bucket`, which counts as use of it. A bucket follows the table once
    /// it was silent for `flowlet_gap`, or from `move_deadline` on; at once if its tunnel is not
    /// `usable`. `None` if no member is usable.
    ///
    /// Use is kept in ticks of 65.5 µs modulo 2^32: a gap is never taken for longer than it was, and a
    /// bucket silent for a multiple of 3.3 days may stay until its next gap.
    #[inline]
    pub fn steer(
        &mut self,
        table: &BucketTable,
        bucket: Bucket,
        now: Nanos,
        flowlet_gap: Nanos,
        move_deadline: Nanos,
        usable: impl Fn(TunnelId) -> bool,
    ) -> Option<Steered> {
        let slot = &mut self.slots[usize::from(bucket.0)];
        let (seen, from) = (slot.seen(), slot.current);
        let tick = ((now.0 >> TICK_BITS) as u32).max(1);
        let silent = tick.wrapping_sub(seen);

        let target = table.target(bucket);
        let kind = if seen == NEVER {
            None
        } else if !usable(from) {
            Some(MoveKind::Failed)
        } else if target == from || !usable(target) {
            slot.seen = halves(tick);
            return Some(Steered { tunnel: from, moved: None });
        } else if longer_than(silent, flowlet_gap) {
            Some(if silent > IDLE_TICKS { MoveKind::Idle } else { MoveKind::Gap })
        } else if now >= move_deadline {
            Some(MoveKind::Forced)
        } else {
            slot.seen = halves(tick);
            return Some(Steered { tunnel: from, moved: None });
        };

        let tunnel = if usable(target) { target } else { table.substitute(bucket, usable)? };
        *slot = Slot { current: tunnel, seen: halves(tick) };
        self.moves.count(kind);
        Some(Steered { tunnel, moved: kind.map(|kind| Moved { from, kind }) })
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
            Some(MoveKind::Forced) => self.forced += 1,
            Some(MoveKind::Failed) => self.failed += 1,
        }
    }
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
