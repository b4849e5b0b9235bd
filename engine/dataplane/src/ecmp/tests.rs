use super::*;
use crate::id::Nanos;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const A: TunnelId = TunnelId(0);
const B: TunnelId = TunnelId(1);

fn shares(weights: &[(u16, u32)]) -> Shares {
    Shares::by_weight(&weights.iter().map(|&(tunnel, weight)| (TunnelId(tunnel), weight)).collect::<Vec<_>>())
        .unwrap()
}

fn owned(table: &BucketTable, tunnel: TunnelId) -> BTreeSet<u16> {
    (0..=u16::MAX).filter(|&bucket| table.target(Bucket(bucket)) == tunnel).collect()
}

fn counts(table: &BucketTable) -> Vec<(TunnelId, u32)> {
    let mut counts = BTreeMap::new();
    for bucket in 0..=u16::MAX {
        *counts.entry(table.target(Bucket(bucket))).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

fn any_shares() -> impl Strategy<Value = Shares> {
    prop::collection::btree_map(0..9u16, 0..1000u32, 1..8).prop_filter_map("weightless", |weights| {
        let weights: Vec<_> =
            weights.into_iter().map(|(tunnel, weight)| (TunnelId(tunnel), weight)).collect();
        Shares::by_weight(&weights).ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Through any history: exactly the shares asked for, by the fewest moves there can be.
    #[test]
    fn shares_are_exact_and_moves_minimal(history in prop::collection::vec(any_shares(), 2..6)) {
        let mut table = BucketTable::new(&history[0]);
        for shares in &history {
            let next = table.rebalance(shares);
            prop_assert_eq!(counts(&next), shares.iter().collect::<Vec<_>>());
            let fewest: u32 = table.shares().iter().map(|(t, n)| n.saturating_sub(shares.of(t))).sum();
            prop_assert_eq!(next.distance(&table), fewest as usize);
            table = next;
        }
    }

    /// Largest remainder: each share within one bucket of exact.
    #[test]
    fn weights_are_met_within_one_bucket(weights in prop::collection::vec(1..u32::MAX, 1..200)) {
        let total: u64 = weights.iter().map(|&w| u64::from(w)).sum();
        let list: Vec<_> = (0..).map(TunnelId).zip(weights.iter().copied()).collect();
        let shares = Shares::by_weight(&list).unwrap();
        for (tunnel, weight) in list {
            let exact = f64::from(weight) / total as f64 * f64::from(BUCKETS);
            prop_assert!((f64::from(shares.of(tunnel)) - exact).abs() < 1.0);
        }
        prop_assert_eq!(shares.iter().map(|(_, n)| n).sum::<u32>(), BUCKETS);
    }
}

#[test]
fn the_order_of_moves_is_a_permutation() {
    let buckets: BTreeSet<_> = (0..=u16::MAX).map(bucket_at).collect();
    assert_eq!(buckets.len(), BUCKETS as usize);
}

/// 5, 25, 50, 100 %: ⌈Δw·B⌉ each, every step holds the one before, and back the same way.
#[test]
fn a_shift_in_steps_is_nested_and_rolls_back_exactly() {
    let all = shares(&[(0, 1)]);
    let start = BucketTable::new(&all);
    let mut steps = vec![start.clone()];
    for (fraction, buckets) in [(0.05, 3277), (0.25, 16384), (0.5, 32768), (1.0, 65536)] {
        assert_eq!(buckets_of(fraction), buckets);
        let shares = all.shift(A, B, buckets).unwrap();
        let table = steps.last().unwrap().rebalance(&shares);
        assert_eq!(owned(&table, B).len(), buckets as usize);
        assert!(owned(steps.last().unwrap(), B).is_subset(&owned(&table, B)), "a bucket moved back");
        assert_eq!(table, start.rebalance(&shares), "the path there makes no difference");
        steps.push(table);
    }
    for pair in steps.windows(2).rev() {
        assert_eq!(pair[1].rebalance(pair[0].shares()), pair[0]);
    }
}

#[test]
fn moved_buckets_are_spread() {
    let all = shares(&[(0, 1)]);
    let table = BucketTable::new(&all).rebalance(&all.shift(A, B, 3277).unwrap());
    let mut of_256 = [0; 256];
    for bucket in owned(&table, B) {
        of_256[usize::from(bucket >> 8)] += 1;
    }
    assert!(of_256.iter().all(|n| (2..30).contains(n)), "{of_256:?}");
}

#[test]
fn a_lost_member_spreads_over_the_others_in_proportion() {
    let shares = shares(&[(1, 10), (2, 20), (3, 30), (4, 40)]);
    let table = BucketTable::new(&shares);
    let without = shares.without(TunnelId(4)).unwrap();
    let next = table.rebalance(&without);
    assert_eq!(next.distance(&table), shares.of(TunnelId(4)) as usize);
    assert_eq!(without.iter().map(|(_, n)| n).collect::<Vec<_>>(), [10923, 21845, 32768]);
    assert!((1..4).all(|t| owned(&table, TunnelId(t)).is_subset(&owned(&next, TunnelId(t)))));
}

#[test]
fn impossible_shares_are_refused() {
    assert_eq!(Shares::by_weight(&[(A, 0), (B, 0)]), Err(SharesError::Empty));
    assert_eq!(Shares::exact(&[(A, 65_535)]), Err(SharesError::Sum(65_535)));
    assert_eq!(Shares::exact(&[(A, 65_535), (A, 1)]), Err(SharesError::Duplicate(A)));
    let wanted = Shares::exact(&[(A, 65_536)]).unwrap().shift(B, A, 1);
    assert_eq!(wanted, Err(SharesError::TooFew { tunnel: B, has: 0, wanted: 1 }));
    assert_eq!((buckets_of(f64::NAN), buckets_of(-1.0), buckets_of(7.0)), (0, 0, BUCKETS));
}

/// Whether a tunnel is up.
fn is(up: &[bool]) -> impl Fn(TunnelId) -> bool {
    |tunnel| up.get(tunnel.index()).copied().unwrap_or(false)
}

fn sent(steered: Steered) -> (TunnelId, Option<MoveKind>) {
    match steered {
        Steered::To { tunnel, moved } => (tunnel, moved.map(|moved| moved.kind)),
        Steered::Waits => panic!("it waits"),
    }
}

/// The rule in exact nanoseconds. It may move where ticks cannot yet tell that it should.
#[derive(Default)]
struct Model {
    current: BTreeMap<u16, (TunnelId, u64)>,
}

impl Model {
    /// The tunnels allowed for this packet.
    fn allowed(
        &self,
        bucket: u16,
        target: TunnelId,
        now: u64,
        (gap, deadline): (u64, u64),
        up: &[bool],
        hold: bool,
    ) -> Vec<TunnelId> {
        let Some(&(current, seen)) = self.current.get(&bucket) else { return vec![target] };
        let silent = now - seen;
        if !up[current.index()] || hold && now >= deadline || silent >= gap + (2 << 16) || gap == 0 {
            vec![target]
        } else if silent >= gap {
            vec![current, target]
        } else {
            vec![current]
        }
    }
}

proptest! {
    #[test]
    fn a_worker_follows_by_the_rule(
        packets in prop::collection::vec((0..6u16, 0..3_000_000u64, 0..40u8, any::<bool>()), 1..400),
        gap in prop_oneof![Just(0), 0..2_000_000u64],
        pace in 0..300_000_000u64,
    ) {
        let tables = [BucketTable::new(&shares(&[(0, 1), (1, 1)])), BucketTable::new(&shares(&[(1, 1), (2, 1)]))];
        let (mut steering, mut model) = (Steering::new(), Model::default());
        let (mut now, mut table, mut deadline, mut moves) = (1 << 20, 0, 0, 0);
        for (bucket, wait, event, hold) in packets {
            now += wait;
            if event == 0 {
                table = 1 - table;
                deadline = now + pace;
            }
            // Tunnel 0 fails now and then, only while the table does not name it.
            let up = [table == 0 || event != 1, true, true];
            let target = tables[table].target(Bucket(bucket));
            let allowed = model.allowed(bucket, target, now, (gap, deadline), &up, hold);
            let before = model.current.get(&bucket).map(|&(tunnel, _)| tunnel);
            let got = steering
                .steer(&tables[table], Bucket(bucket), Nanos(now), (Nanos(gap), Nanos(deadline)), is(&up), |_| hold)
                .unwrap();
            let (tunnel, moved) = match got {
                Steered::To { tunnel, moved } => (tunnel, moved),
                // Held, and let go at once.
                Steered::Waits => {
                    prop_assert!(hold && now >= deadline, "held without a reason");
                    prop_assert!(steering.released(Bucket(bucket), target, Nanos(now), Some(MoveKind::Marked)));
                    (target, before.map(|from| Moved { from, kind: MoveKind::Marked }))
                }
            };
            prop_assert!(allowed.contains(&tunnel), "{got:?} is not among {allowed:?}");
            prop_assert_eq!(moved.map(|moved| moved.from), before.filter(|&before| before != tunnel));
            moves += u64::from(moved.is_some());
            model.current.insert(bucket, (tunnel, now));
        }
        let Moves { idle, gap, marked, failed } = steering.moves();
        prop_assert_eq!(idle + gap + marked + failed, moves);
    }
}

#[test]
fn kinds_of_moves() {
    let (a, b) = (BucketTable::new(&shares(&[(0, 1)])), BucketTable::new(&shares(&[(1, 1)])));
    let ms = Nanos::from_millis;
    let mut steering = Steering::new();
    let mut steer = |table: &BucketTable, at, deadline, up: [bool; 2]| {
        steering.steer(table, Bucket(9), ms(at), (ms(2), deadline), is(&up), |_| false).map(sent)
    };
    assert_eq!(steer(&a, 10, Nanos::MAX, [true; 2]), Some((A, None)));
    assert_eq!(steer(&b, 11, Nanos::MAX, [true; 2]), Some((A, None)), "busy: stays");
    assert_eq!(steer(&b, 14, Nanos::MAX, [true; 2]), Some((B, Some(MoveKind::Gap))));
    assert_eq!(steer(&a, 15, ms(15), [true; 2]), Some((B, None)), "nothing is held: stays");
    assert_eq!(steer(&a, 18, ms(15), [true; 2]), Some((A, Some(MoveKind::Gap))));
    assert_eq!(steer(&b, 3000, Nanos::MAX, [true; 2]), Some((B, Some(MoveKind::Idle))));
    assert_eq!(steer(&a, 3001, Nanos::MAX, [true, false]), Some((A, Some(MoveKind::Failed))));
    assert_eq!(steer(&b, 9000, ms(0), [true, false]), Some((A, None)), "never towards a tunnel that is down");
    assert_eq!(steer(&a, 9001, Nanos::MAX, [false; 2]), None);
    assert_eq!(steering.moves(), Moves { idle: 1, gap: 2, marked: 0, failed: 1 });
}

/// Before control rebalances: the buckets of a dead tunnel go to the others about as their shares.
#[test]
fn a_dead_tunnels_buckets_are_spread_at_once() {
    let table = BucketTable::new(&shares(&[(0, 50), (1, 10), (2, 40)]));
    let mut steering = Steering::new();
    let mut to = [0; 3];
    for bucket in owned(&table, A) {
        let up = [false, true, true];
        let got =
            steering.steer(&table, Bucket(bucket), Nanos(1), (Nanos(0), Nanos::MAX), is(&up), |_| false);
        to[sent(got.unwrap()).0.index()] += 1;
    }
    assert_eq!(to[0], 0);
    assert!((5500..7600).contains(&to[1]), "{to:?}");
}

/// Held packets leave in their order, and those that come meanwhile behind them.
#[test]
fn a_bucket_is_held_until_the_last_that_waits_has_gone() {
    let (a, b) = (BucketTable::new(&shares(&[(0, 1)])), BucketTable::new(&shares(&[(1, 1)])));
    let (ms, bucket, mut steering) = (Nanos::from_millis, Bucket(9), Steering::new());
    let times = (ms(5), ms(0));
    let steer = |steering: &mut Steering, table, at, hold| {
        steering.steer(table, bucket, ms(at), times, is(&[true; 2]), |old| {
            assert_eq!(old, Old::Tunnel(A));
            hold
        })
    };
    steer(&mut steering, &a, 10, true);
    for at in 11..14 {
        assert_eq!(steer(&mut steering, &b, at, true), Some(Steered::Waits), "the first and those behind it");
    }
    // Even if the table turns back meanwhile, or nobody more is admitted.
    assert_eq!(steer(&mut steering, &a, 100, false), Some(Steered::Waits));
    for left in (0..4).rev() {
        assert_eq!(steering.released(bucket, B, ms(101), Some(MoveKind::Marked)), left == 0);
    }
    assert_eq!(steer(&mut steering, &b, 102, false).map(sent), Some((B, None)));
    assert_eq!(steering.moves(), Moves { marked: 1, ..Moves::default() });
}

/// What the other engine handed over is still on the cable when its host turns to us.
#[test]
fn a_bucket_that_was_handed_over_is_held_for_the_cable() {
    let table = BucketTable::new(&shares(&[(0, 1)]));
    let (ms, bucket, mut steering) = (Nanos::from_millis, Bucket(9), Steering::new());
    let steer = |steering: &mut Steering, at, hold| {
        steering.steer(&table, bucket, ms(at), (ms(0), ms(0)), is(&[true]), |old| {
            assert_eq!(old, Old::Link);
            hold
        })
    };
    steering.handed_over(bucket, ms(1000));
    assert_eq!(steer(&mut steering, 1001, true), Some(Steered::Waits));
    steering.handed_over(bucket, ms(1002));
    assert_eq!(steer(&mut steering, 1003, true), Some(Steered::Waits), "the older one goes on alone");
    assert!(!steering.released(bucket, A, ms(1004), None) && steering.released(bucket, A, ms(1004), None));
    steering.handed_over(bucket, ms(2000));
    assert_eq!(
        steer(&mut steering, 2060, true),
        Some(Steered::Waits),
        "one that was sent after it may be on the cable"
    );
    assert!(steering.released(bucket, A, ms(2061), None));
    steering.handed_over(bucket, ms(3000));
    assert_eq!(steer(&mut steering, 4200, true).map(sent), Some((A, None)), "no flow was under way");
    steering.handed_over(bucket, ms(5000));
    assert_eq!(steer(&mut steering, 5001, false).map(sent), Some((A, None)), "nobody is there to ask");
}
