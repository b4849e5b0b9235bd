//! Weighted ECMP: 65,536 buckets, each of which belongs to one tunnel of a group, and how a worker
//! follows when buckets change hands.
//!
//! Control holds [`Shares`] (how many buckets each tunnel gets) and a [`BucketTable`] (which ones).
//! [`BucketTable::rebalance`] moves the fewest buckets that give the new shares. A worker holds a
//! [`Steering`] for each group: where each bucket's packets go now, which differs from the table's
//! target until the bucket can move without reordering.

pub mod mark;
mod shares;
mod steering;

#[cfg(test)]
mod tests;

pub use shares::{BUCKETS, Shares, SharesError, buckets_of};
pub use steering::{MoveKind, Moved, Moves, Old, Steered, Steering};

use crate::id::{Bucket, TunnelId};
use std::cmp::Ordering;

/// Which tunnel each bucket belongs to. Immutable; part of a snapshot.
///
/// A table depends on the tables before it, which is what keeps moves few; two engines need not
/// have the same. With two members it depends on their shares only: rolling a shift back restores
/// the very table from before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketTable {
    targets: Box<[TunnelId; BUCKETS as usize]>,
    shares: Shares,
}

/// The bucket at place `rank` of the order in which buckets move: a fixed permutation, so that
/// buckets that move together are spread over all. Odd factors and right shifts are bijections.
fn bucket_at(rank: u16) -> usize {
    let mut x = rank.wrapping_mul(0x9e35);
    x ^= x >> 7;
    x = x.wrapping_mul(0x6a2d);
    x ^= x >> 9;
    usize::from(x)
}

impl BucketTable {
    /// A first table: each tunnel, in the order of ids, owns the next ranks.
    pub fn new(shares: &Shares) -> BucketTable {
        let mut targets = Box::new([TunnelId(0); BUCKETS as usize]);
        let owners =
            shares.iter().flat_map(|(tunnel, buckets)| std::iter::repeat_n(tunnel, buckets as usize));
        for (rank, tunnel) in (0..=u16::MAX).zip(owners) {
            targets[bucket_at(rank)] = tunnel;
        }
        BucketTable { targets, shares: shares.clone() }
    }

    /// The table with these shares that differs in the fewest buckets: no bucket moves between
    /// two tunnels that both gain, or both lose, and none moves twice while shares change one way.
    pub fn rebalance(&self, shares: &Shares) -> BucketTable {
        let mut table = BucketTable { targets: self.targets.clone(), shares: shares.clone() };
        let mut gains = shares.iter().filter_map(|(to, buckets)| {
            buckets.checked_sub(self.shares.of(to)).filter(|&gain| gain > 0).map(|gain| (to, gain))
        });
        let mut gain = gains.next();
        for (from, had) in self.shares.iter() {
            let mut surplus = had.saturating_sub(shares.of(from));
            while let (1.., Some((to, wanted))) = (surplus, gain) {
                let moving = surplus.min(wanted);
                table.hand_over(from, to, moving);
                surplus -= moving;
                gain = if wanted > moving { Some((to, wanted - moving)) } else { gains.next() };
            }
        }
        table
    }

    /// Moves `count` buckets. A lower tunnel hands over its highest ranks and a higher one its lowest:
    /// between two tunnels, what moved last is what moves back first.
    fn hand_over(&mut self, from: TunnelId, to: TunnelId, count: u32) {
        let mut left = count;
        for rank in 0..=u16::MAX {
            if left == 0 {
                return;
            }
            let target = &mut self.targets[bucket_at(if from < to { u16::MAX - rank } else { rank })];
            if *target == from {
                *target = to;
                left -= 1;
            }
        }
    }

    /// All of it as runs of buckets, in the order in which they move.
    pub fn runs(&self) -> Vec<(TunnelId, u32)> {
        let mut runs: Vec<(TunnelId, u32)> = Vec::new();
        for rank in 0..=u16::MAX {
            let target = self.targets[bucket_at(rank)];
            match runs.last_mut() {
                Some((last, many)) if *last == target => *many += 1,
                _ => runs.push((target, 1)),
            }
        }
        runs
    }

    /// The table of these [`runs`](Self::runs).
    ///
    /// # Errors
    /// If they are not of 65,536 buckets.
    pub fn of_runs(runs: &[(TunnelId, u32)]) -> Result<BucketTable, SharesError> {
        let mut sums = std::collections::BTreeMap::new();
        for &(tunnel, many) in runs {
            let sum: &mut u32 = sums.entry(tunnel).or_default();
            *sum = sum.saturating_add(many);
        }
        let shares = Shares::exact(&sums.into_iter().collect::<Vec<_>>())?;
        let mut table = BucketTable::new(&shares);
        let targets = runs.iter().flat_map(|&(tunnel, many)| std::iter::repeat_n(tunnel, many as usize));
        for (rank, target) in (0..=u16::MAX).zip(targets) {
            table.targets[bucket_at(rank)] = target;
        }
        Ok(table)
    }

    /// The tunnel that `bucket` belongs to.
    #[inline]
    pub fn target(&self, bucket: Bucket) -> TunnelId {
        self.targets[usize::from(bucket.0)]
    }

    /// How many buckets each tunnel has.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// The number of buckets whose tunnel differs.
    pub fn distance(&self, other: &BucketTable) -> usize {
        self.targets.iter().zip(other.targets.iter()).filter(|(a, b)| a.cmp(b) != Ordering::Equal).count()
    }

    /// The bucket's tunnel, or while that cannot be used another one; `None` if no member can.
    #[inline]
    pub fn usable_target(&self, bucket: Bucket, usable: impl Fn(TunnelId) -> bool) -> Option<TunnelId> {
        let target = self.target(bucket);
        if usable(target) { Some(target) } else { self.substitute(bucket, usable) }
    }

    /// In place of a tunnel that is down, before control has rebalanced: the target of some other
    /// bucket, which spreads over the usable tunnels about as their shares; else any usable member.
    fn substitute(&self, bucket: Bucket, usable: impl Fn(TunnelId) -> bool) -> Option<TunnelId> {
        const TRIES: u16 = 16;
        (1..=TRIES)
            .map(|n| self.target(Bucket(bucket.0 ^ bucket_at(n) as u16)))
            .find(|&tunnel| usable(tunnel))
            .or_else(|| self.shares.iter().map(|(tunnel, _)| tunnel).find(|&tunnel| usable(tunnel)))
    }
}
