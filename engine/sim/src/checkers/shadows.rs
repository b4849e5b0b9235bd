//! (10) Site a's shared SA: whatever its owner sends or accepts, the other engine knew that it might before, as long as the
//! channel between them is sound. What the other one knows is where it would go on.
//!
//! What was accepted while the other engine could not be told, because it or the channel was down, is [excused](Shadows::excuses):
//! an engine that takes over then only estimates how far the SA has come. How often that let a packet in again is counted.
//! A channel that loses segments is not sound either: one that is lost twice is later than the quarter of a second after which an
//! owner goes on though its shadow, as far as it knows connected, has not answered.

use super::{Log, Rule};
use dataplane::id::Nanos;
use std::collections::HashSet;

/// A channel that has been sound for so long has brought whatever was reserved without it.
const SOUND: Nanos = Nanos::from_millis(2_500);

/// See the module.
#[derive(Debug, Default)]
pub struct Shadows {
    /// Packets that were looked at while the channel was sound.
    pub count: u64,
    /// Numbers that were accepted unheard.
    unheard: HashSet<u64>,
    /// Packets of those that were accepted again.
    pub again_unheard: u64,
}

impl Shadows {
    /// `engine` has sent a number, where the other engine has written down that those below `reserved` may be taken.
    pub fn sent(
        &mut self,
        at: Nanos,
        engine: &str,
        (seq, reserved): (u64, u64),
        sound: Nanos,
        log: &mut Log,
    ) {
        if sound >= SOUND {
            self.count += 1;
            if seq >= reserved {
                let what = format!("{engine} sends number {seq}, of which the other engine knows {reserved}");
                log.violate(at, Rule::Shadows, what);
            }
        }
    }

    /// `engine` has accepted a number, where the other engine has heard of this limit.
    pub fn accepted(
        &mut self,
        at: Nanos,
        engine: &str,
        (seq, limit): (u64, u64),
        sound: Nanos,
        log: &mut Log,
    ) {
        if seq > limit {
            self.unheard.insert(seq);
        }
        if sound >= SOUND {
            self.count += 1;
            if seq > limit {
                let what =
                    format!("{engine} accepts number {seq}, where the other engine has heard of {limit}");
                log.violate(at, Rule::Shadows, what);
            }
        }
    }

    /// A number that has been accepted before is accepted again: whether whoever does could not know.
    pub fn excuses(&mut self, seq: u64) -> bool {
        let unheard = self.unheard.contains(&seq);
        self.again_unheard += u64::from(unheard);
        unheard
    }
}
