//! What a port has taken lately, as digests: while two processes have a port on one interface, each frame must count for exactly
//! one of them, and the one that goes on leaves out what the other says it has taken.

use crate::mbuf::Mbuf;
use dataplane::packet::Packet as _;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// Frames that are remembered: both processes receive for some milliseconds only.
const REMEMBERED: usize = 1 << 16;

/// What a port's queues do with what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Intake {
    /// It is taken.
    Plain,
    /// It is taken, and remembered.
    Noted,
    /// It stays where it is, so that the workers finish what they have.
    Closed,
}

/// Digests of what the port's queues have received since it was asked for. Costs one load a burst while nobody asks.
#[derive(Default)]
pub(super) struct Taken {
    /// An [`Intake`].
    intake: AtomicU8,
    count: AtomicUsize,
    digests: OnceLock<Box<[AtomicU64]>>,
}

impl Taken {
    /// What is taken from now on. [`Intake::Noted`] begins anew.
    pub fn set(&self, intake: Intake) {
        if intake == Intake::Noted {
            self.digests.get_or_init(|| (0..REMEMBERED).map(|_| AtomicU64::new(0)).collect());
            self.count.store(0, Ordering::Relaxed);
        }
        self.intake.store(intake as u8, Ordering::Release);
    }

    /// Whether anything but taking is asked for.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.intake.load(Ordering::Relaxed) == Intake::Plain as u8
    }

    /// Whether nothing is to be taken.
    pub fn is_closed(&self) -> bool {
        self.intake.load(Ordering::Relaxed) == Intake::Closed as u8
    }

    /// A queue has received these.
    #[cold]
    pub fn keep(&self, burst: &[Mbuf]) {
        let Some(digests) = self.digests.get() else { return };
        for mbuf in burst {
            let place = self.count.fetch_add(1, Ordering::Relaxed);
            if let Some(kept) = digests.get(place) {
                kept.store(digest(mbuf.data()), Ordering::Relaxed);
            }
        }
    }

    /// All of them, to be asked once no queue is polled. `None` if they were more than are remembered.
    pub fn read(&self) -> Option<Vec<u64>> {
        let count = self.count.load(Ordering::Relaxed);
        let digests = self.digests.get()?.get(..count)?;
        Some(digests.iter().map(|digest| digest.load(Ordering::Relaxed)).collect())
    }
}

/// Frames that another process has taken, each as often as it has.
#[derive(Clone, Debug, Default)]
pub struct TakenElsewhere(HashMap<u64, u32>);

impl TakenElsewhere {
    /// From what [`Device::taken`](super::Device::taken) said there.
    pub fn new(digests: impl IntoIterator<Item = u64>) -> TakenElsewhere {
        let mut counted = HashMap::new();
        digests.into_iter().for_each(|digest| *counted.entry(digest).or_insert(0) += 1);
        TakenElsewhere(counted)
    }

    /// Whether this frame is one of them; each counts once.
    pub(super) fn take(&mut self, mbuf: &Mbuf) -> bool {
        match self.0.get_mut(&digest(mbuf.data())) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }
}

/// The same in every version of the program: 64 bits of all of a frame's first segment and its length (FNV-1a over words).
/// It tells frames apart, it guards nothing.
fn digest(frame: &[u8]) -> u64 {
    const PRIME: u64 = 0x0100_0000_01b3;
    let (words, rest) = frame.as_chunks::<8>();
    let mixed = |state: u64, word: u64| {
        let state = (state ^ word).wrapping_mul(PRIME);
        state ^ state >> 32
    };
    let state =
        words.iter().fold(0xcbf2_9ce4_8422_2325, |state, word| mixed(state, u64::from_be_bytes(*word)));
    let state = rest.iter().fold(state, |state, byte| mixed(state, u64::from(*byte)));
    mixed(state, frame.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_the_length_count() {
        let frame: Vec<u8> = (0..77).collect();
        let mut seen = std::collections::HashSet::from([digest(&frame)]);
        for bit in 0..8 * frame.len() {
            let mut other = frame.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(digest(&other)), "bit {bit}");
        }
        for shorter in 0..frame.len() {
            assert!(seen.insert(digest(&frame[..shorter])), "length {shorter}");
        }
        assert!(seen.insert(digest(&[frame, vec![0]].concat())));
    }
}
