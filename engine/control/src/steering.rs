//! How a group's 65,536 buckets are split: desired shares, exact parts, and where the part of a member
//! that cannot carry it goes.

use dataplane::id::{Nanos, TunnelId};

/// Buckets of a group.
pub const BUCKETS: u32 = 65_536;

/// Shortest flowlet gap.
const GAP_MIN: Nanos = Nanos::from_millis(2);
/// Longest: a bucket that never pauses so long moves at its deadline.
const GAP_MAX: Nanos = Nanos::from_millis(50);

/// One member as the split sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The tunnel.
    pub tunnel: TunnelId,
    /// What it should carry, relative to the others'.
    pub desired: f64,
    /// It can carry traffic now.
    pub usable: bool,
    /// Carries what usable members with a desired share cannot: lower is asked first.
    pub reserve: u8,
}

/// Integer parts of `total`, proportional to `shares`, that add up to it exactly (largest remainder;
/// ties go to the earlier). All zero if no share is positive.
pub fn apportion(shares: &[f64], total: u32) -> Vec<u32> {
    let sum: f64 = shares.iter().sum();
    if !(sum > 0.0 && sum.is_finite()) {
        return vec![0; shares.len()];
    }
    let exact: Vec<f64> = shares.iter().map(|s| s / sum * f64::from(total)).collect();
    let mut parts: Vec<u32> = exact.iter().map(|e| e.floor() as u32).collect();
    let mut missing = total - parts.iter().sum::<u32>().min(total);
    let mut order: Vec<usize> = (0..shares.len()).filter(|i| shares[*i] > 0.0).collect();
    order.sort_by(|a, b| exact[*b].fract().total_cmp(&exact[*a].fract()).then(a.cmp(b)));
    for i in order.into_iter().cycle() {
        if missing == 0 {
            break;
        }
        parts[i] += 1;
        missing -= 1;
    }
    parts
}

/// The split of a group. Unusable members get nothing if anybody else can carry it; if nobody can, the
/// desired split stands, so that nothing moves for nothing.
pub fn split(members: &[Candidate]) -> Vec<(TunnelId, u32)> {
    let effective = |usable_only: bool| -> Vec<f64> {
        members.iter().map(|m| if m.usable || !usable_only { m.desired } else { 0.0 }).collect()
    };
    let mut shares = effective(true);
    if shares.iter().sum::<f64>() <= 0.0 {
        shares = match members.iter().filter(|m| m.usable).map(|m| m.reserve).min() {
            Some(rank) => {
                members.iter().map(|m| if m.usable && m.reserve == rank { 1.0 } else { 0.0 }).collect()
            }
            None => effective(false),
        };
    }
    let parts = apportion(&shares, BUCKETS);
    members.iter().map(|m| m.tunnel).zip(parts).collect()
}

/// The gap after which a busy bucket may change from one of these paths to another without its packets
/// overtaking each other: the longest way there can be, plus jitter. Round trips do not say how they split into
/// there and back, so that all of the slower one's may be the way there and almost none of the faster one's.
pub fn flowlet_gap(paths: &[(Nanos, Nanos)]) -> Nanos {
    let longest = paths.iter().map(|(rtt, _)| rtt.0).max().unwrap_or(0);
    let jitter = paths.iter().map(|(_, jitter)| jitter.0).max().unwrap_or(0);
    Nanos((longest + jitter).clamp(GAP_MIN.0, GAP_MAX.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(tunnel: u16, desired: f64, usable: bool, reserve: u8) -> Candidate {
        Candidate { tunnel: TunnelId(tunnel), desired, usable, reserve }
    }

    #[test]
    fn percents_become_exact_buckets() {
        assert_eq!(apportion(&[95.0, 5.0], BUCKETS), [62_259, 3_277]);
        assert_eq!(apportion(&[1.0, 1.0, 1.0], BUCKETS), [21_846, 21_845, 21_845]);
        assert_eq!(apportion(&[0.0, f64::NAN], BUCKETS), [0, 0]);
    }

    #[test]
    fn a_dead_members_part_goes_to_the_living() {
        let parts = |m: &[Candidate]| split(m).into_iter().map(|(_, p)| p).collect::<Vec<_>>();
        assert_eq!(parts(&[member(1, 1.0, false, 0), member(2, 0.0, true, 1)]), [0, BUCKETS]);
        assert_eq!(parts(&[member(1, 1.0, false, 0), member(2, 0.0, false, 1)]), [BUCKETS, 0]);
        assert_eq!(
            parts(&[member(1, 0.0, false, 0), member(2, 0.0, true, 0), member(3, 0.0, true, 1)]),
            [0, BUCKETS, 0]
        );
    }

    #[test]
    fn the_gap_covers_the_longest_way_and_jitter() {
        let ms = Nanos::from_millis;
        assert_eq!(flowlet_gap(&[(ms(10), ms(1)), (ms(30), ms(3))]), ms(33));
        assert_eq!(flowlet_gap(&[]), GAP_MIN);
        assert_eq!(flowlet_gap(&[(ms(0), ms(0)), (ms(900), ms(0))]), GAP_MAX);
    }

    proptest! {
        #[test]
        fn parts_are_exact_and_fair(shares in prop::collection::vec(0.0f64..1e6, 1..20), total in 1u32..100_000) {
            let parts = apportion(&shares, total);
            let sum: f64 = shares.iter().sum();
            prop_assume!(sum > 0.0);
            prop_assert_eq!(parts.iter().sum::<u32>(), total);
            for (part, share) in parts.iter().zip(&shares) {
                let exact = share / sum * f64::from(total);
                prop_assert!((f64::from(*part) - exact).abs() <= 1.0 + 1e-6);
                prop_assert!(*share > 0.0 || *part == 0);
            }
        }
    }
}
