use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn size(packets: u32) -> WindowSize {
    WindowSize::new(packets).unwrap()
}

fn window_at(top: u64, packets: u32, esn: bool) -> ReplayWindow {
    let mut window = ReplayWindow::new(size(packets), esn);
    if top > 0 {
        window.accept(top).unwrap();
    }
    window
}

/// The window by its definition: a set of all numbers ever accepted.
struct Oracle {
    seen: HashSet<u64>,
    top: u64,
    size: u64,
}

impl Oracle {
    fn check(&self, seq: u64) -> Result<(), ReplayError> {
        match seq {
            0 => Err(ReplayError::Zero),
            _ if seq + self.size <= self.top => Err(ReplayError::TooOld),
            _ if self.seen.contains(&seq) => Err(ReplayError::Duplicate),
            _ => Ok(()),
        }
    }
}

/// Steps from the window's top: mostly near it, some across it, a few far ahead.
fn steps() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![6 => -200..100i64, 2 => -5000..5000i64, 1 => 0..(1i64 << 30)];
    prop::collection::vec(step, 1..400)
}

fn packets() -> impl Strategy<Value = u32> {
    (1..=64u32).prop_map(|words| words * 64)
}

proptest! {
    /// The true number lies within 2^31 of the top: A2 must find it, wherever 2^32 lies.
    #[test]
    fn agrees_with_a_set_with_esn(start in prop_oneof![1..3000u64, (1u64 << 32) - 3000..(1 << 32) + 3000,
        (7u64 << 32) - 3000..(7 << 32) + 3000], packets in packets(), steps in steps())
    {
        let mut window = window_at(start, packets, true);
        let mut oracle = Oracle { seen: HashSet::from([start]), top: start, size: packets.into() };
        for step in steps {
            let seq = oracle.top.saturating_add_signed(step);
            let expected = oracle.check(seq);
            let got = window.check(seq as u32);
            if matches!(expected, Err(ReplayError::TooOld | ReplayError::Zero)) {
                // An ESN receiver may take such a number for one of the next subspace: only the ICV
                // unmasks it. It never maps to a number that was seen.
                prop_assert!(got.is_err() || got.is_ok_and(|full| full > oracle.top && full as u32 == seq as u32));
                continue;
            }
            prop_assert_eq!(got, expected.map(|()| seq));
            prop_assert_eq!(window.accept(seq), expected);
            if expected.is_ok() {
                oracle.seen.insert(seq);
                oracle.top = oracle.top.max(seq);
            }
            prop_assert_eq!(window.accept(seq), Err(ReplayError::Duplicate));
            prop_assert_eq!(window.top(), oracle.top);
        }
    }

    #[test]
    fn agrees_with_a_set_without_esn(start in prop_oneof![1..3000u64, (1u64 << 32) - 9000..(1 << 32) - 1],
        packets in packets(), steps in steps())
    {
        let mut window = window_at(start, packets, false);
        let mut oracle = Oracle { seen: HashSet::from([start]), top: start, size: packets.into() };
        for step in steps {
            let seq = oracle.top.saturating_add_signed(step).min(u64::from(u32::MAX));
            let expected = oracle.check(seq);
            prop_assert_eq!(window.check(seq as u32), expected.map(|()| seq));
            prop_assert_eq!(window.accept(seq), expected);
            if expected.is_ok() {
                oracle.seen.insert(seq);
                oracle.top = oracle.top.max(seq);
            }
        }
    }
}

#[test]
fn without_esn_the_number_never_cycles() {
    let mut window = window_at(u64::from(u32::MAX) - 1, 64, false);
    window.accept(u64::from(u32::MAX)).unwrap();
    assert_eq!(window.check(0), Err(ReplayError::Zero));
    for low in 1..1000 {
        assert_eq!(window.check(low), Err(ReplayError::TooOld));
    }
}

#[test]
fn with_esn_the_high_half_is_inferred_across_the_wrap() {
    // Case A (A2.1): the window within one subspace; lower numbers are the next one's.
    let window = window_at((3 << 32) + 0xffff_fff0, 64, true);
    assert_eq!(window.check(0xffff_fff1), Ok((3 << 32) + 0xffff_fff1));
    assert_eq!(window.check(0xffff_ffb1), Ok((3 << 32) + 0xffff_ffb1));
    assert_eq!(window.check(0xffff_ffb0), Ok((4 << 32) + 0xffff_ffb0));
    assert_eq!(window.check(0), Ok(4 << 32));
    // Its left edge is the subspace's: still case A.
    let window = window_at((3 << 32) + 63, 64, true);
    assert_eq!(window.check(0), Ok(3 << 32));
    assert_eq!(window.check(64), Ok((3 << 32) + 64));
    // Case B (A2.1): it spans two; high numbers are the one before's.
    let window = window_at((4 << 32) + 10, 64, true);
    assert_eq!(window.check(11), Ok((4 << 32) + 11));
    assert_eq!(window.check(0), Ok(4 << 32));
    assert_eq!(window.check(0xffff_ffcb), Ok((3 << 32) + 0xffff_ffcb));
    assert_eq!(window.check(0xffff_ffca), Ok((4 << 32) + 0xffff_ffca));
}

#[test]
fn with_esn_nothing_lies_before_the_first_subspace_or_behind_the_last() {
    let window = ReplayWindow::new(size(64), true);
    assert_eq!(window.check(1), Ok(1));
    assert_eq!(window.check(0), Err(ReplayError::Zero));
    assert_eq!(window.check(0xffff_ffff), Err(ReplayError::TooOld));
    let window = window_at(u64::MAX, 64, true);
    assert_eq!(window.check(5), Err(ReplayError::Overflow));
}

#[test]
fn sizes_are_whole_words_up_to_4096() {
    for packets in [0, 32, 65, 100, 4095, 4160] {
        assert_eq!(WindowSize::new(packets), None);
    }
    assert_eq!(WindowSize::new(4096).map(WindowSize::packets), Some(4096));
}
