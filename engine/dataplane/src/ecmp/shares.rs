//! How many of the 65,536 buckets each member of a group gets.

use crate::id::TunnelId;

/// Buckets of a group.
pub const BUCKETS: u32 = 65_536;

/// Shares that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharesError {
    /// No member, or none with a weight.
    #[error("a tunnel group needs a member with a weight above 0")]
    Empty,
    /// One tunnel twice.
    #[error("tunnel {0} is named twice in one group")]
    Duplicate(TunnelId),
    /// Exact shares that are not the whole.
    #[error("shares of a group sum to {0} buckets, not to 65536")]
    Sum(u64),
    /// More buckets than a member has were to move.
    #[error("{wanted} buckets were to leave tunnel {tunnel}, which has {has}")]
    TooFew {
        /// The member.
        tunnel: TunnelId,
        /// Its buckets.
        has: u32,
        /// Buckets to move.
        wanted: u32,
    },
}

/// ⌈`fraction` · 65,536⌉: the buckets that a shift of that share of the traffic moves. A fraction
/// outside 0–1 counts as 0 or 1, and one that is not a number as 0.
pub fn buckets_of(fraction: f64) -> u32 {
    // Exact: the factor is a power of two. `as` maps NaN to 0.
    (fraction.clamp(0.0, 1.0) * f64::from(BUCKETS)).ceil() as u32
}

/// Buckets for each member: distinct tunnels in order of their ids, none with zero, in sum 65,536.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares(Vec<(TunnelId, u32)>);

impl Shares {
    /// In proportion to `weights`, rounded by largest remainder (at a tie, the lower id). A weight
    /// of zero, or too small for a bucket, leaves the member out.
    pub fn by_weight(weights: &[(TunnelId, u32)]) -> Result<Shares, SharesError> {
        let total: u64 = weights.iter().map(|&(_, weight)| u64::from(weight)).sum();
        if total == 0 {
            return Err(SharesError::Empty);
        }
        let mut parts: Vec<_> = weights
            .iter()
            .map(|&(tunnel, weight)| {
                let exact = u64::from(weight) * u64::from(BUCKETS);
                (tunnel, (exact / total) as u32, exact % total)
            })
            .collect();
        let given: u32 = parts.iter().map(|&(_, buckets, _)| buckets).sum();
        parts.sort_by_key(|&(tunnel, _, remainder)| (std::cmp::Reverse(remainder), tunnel));
        for (_, buckets, _) in parts.iter_mut().take((BUCKETS - given) as usize) {
            *buckets += 1;
        }
        Shares::exact(&parts.into_iter().map(|(tunnel, buckets, _)| (tunnel, buckets)).collect::<Vec<_>>())
    }

    /// Exactly these numbers of buckets.
    pub fn exact(buckets: &[(TunnelId, u32)]) -> Result<Shares, SharesError> {
        let mut shares = buckets.to_vec();
        shares.sort_unstable();
        if let Some(twice) = shares.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(SharesError::Duplicate(twice[0].0));
        }
        match shares.iter().map(|&(_, buckets)| u64::from(buckets)).sum() {
            0 => return Err(SharesError::Empty),
            sum if sum != u64::from(BUCKETS) => return Err(SharesError::Sum(sum)),
            _ => shares.retain(|&(_, buckets)| buckets > 0),
        }
        Ok(Shares(shares))
    }

    /// These shares with `buckets` moved from one tunnel to another, which may be new.
    pub fn shift(&self, from: TunnelId, to: TunnelId, buckets: u32) -> Result<Shares, SharesError> {
        let has = self.of(from);
        if buckets > has {
            return Err(SharesError::TooFew { tunnel: from, has, wanted: buckets });
        }
        if from == to {
            return Ok(self.clone());
        }
        let mut shares: Vec<_> = self.iter().filter(|&(tunnel, _)| tunnel != from && tunnel != to).collect();
        shares.extend([(from, has - buckets), (to, self.of(to) + buckets)]);
        Shares::exact(&shares)
    }

    /// These shares with one tunnel's spread over the others in proportion: none loses a bucket.
    pub fn without(&self, tunnel: TunnelId) -> Result<Shares, SharesError> {
        let others: Vec<_> = self.iter().filter(|&(other, _)| other != tunnel).collect();
        Shares::by_weight(&others)
    }

    /// The buckets of `tunnel`, zero if it is not a member.
    pub fn of(&self, tunnel: TunnelId) -> u32 {
        self.0.binary_search_by_key(&tunnel, |&(tunnel, _)| tunnel).map_or(0, |n| self.0[n].1)
    }

    /// Members and their buckets, in order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (TunnelId, u32)> + '_ {
        self.0.iter().copied()
    }
}
