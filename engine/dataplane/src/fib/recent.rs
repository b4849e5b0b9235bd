//! What a worker has looked up lately. Sources of packets repeat as destinations do not: a site's hosts are few, and
//! nearly all of them lie in subnets with routes of their own, the deepest and dearest to find.

use crate::id::NextHopId;

/// Answers kept: 8 KiB, a sixth of an L1 cache.
const ANSWERS: usize = 512;
/// No IPv4 address.
const VACANT: u64 = u64::MAX;

/// Routes of IPv4 addresses, each in the one place where it may be.
pub struct Recent {
    answers: Box<[(u64, NextHopId); ANSWERS]>,
    /// Of the FIB as it was since then.
    epoch: u64,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent { answers: Box::new([(VACANT, NextHopId::NONE); ANSWERS]), epoch: 0 }
    }
}

impl Recent {
    /// Forgets everything: the FIB is another one now.
    pub fn forget(&mut self) {
        self.answers.fill((VACANT, NextHopId::NONE));
    }

    /// Forgets everything if routes may have changed: the writer begins an epoch after its changes.
    #[inline]
    pub fn renew(&mut self, epoch: u64) {
        if self.epoch != epoch {
            self.forget();
            self.epoch = epoch;
        }
    }

    /// The route of `address`, and whether it is known.
    #[inline]
    pub fn get(&self, address: u32) -> (NextHopId, bool) {
        let (of, route) = self.answers[place(address)];
        (route, of == u64::from(address))
    }

    /// Keeps the route of `address`, in place of another's.
    #[inline]
    pub fn put(&mut self, address: u32, route: NextHopId) {
        self.answers[place(address)] = (u64::from(address), route);
    }
}

/// Fibonacci hashing: 2^32 / φ. A host that picks addresses which collide makes its own packets dearer, no others wrong.
#[inline]
fn place(address: u32) -> usize {
    (address.wrapping_mul(0x9e37_79b9) >> (32 - ANSWERS.ilog2())) as usize % ANSWERS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        /// It never says anything but what was put last, since routes changed.
        #[test]
        fn answers_are_those_of_the_tables(
            steps in prop::collection::vec((0..4u8, 0..2000u32, 0..9u32), 1..400),
        ) {
            let (mut recent, mut oracle, mut epoch) = (Recent::default(), HashMap::new(), 0);
            for (what, address, route) in steps {
                // Near ones, and ones that share their places.
                let address = address.wrapping_mul(if address % 2 == 0 { 1 } else { 0x0101_0101 });
                if what == 0 && route == 0 {
                    epoch += 1;
                    oracle.clear();
                    recent.renew(epoch);
                } else if what == 1 {
                    oracle.insert(address, route);
                    recent.put(address, NextHopId(route));
                    prop_assert_eq!(recent.get(address), (NextHopId(route), true));
                } else if let (found, true) = recent.get(address) {
                    prop_assert_eq!(Some(&found.0), oracle.get(&address));
                }
            }
        }
    }
}
