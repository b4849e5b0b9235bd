//! SAs with peers that cannot have one pair of SAs for each engine (the case of [`dataplane::sa::Partition`]), as their
//! engine's standby knows them, and where their counters go on when it takes over.
//!
//! - *Outbound* the standby takes a new epoch of its own and begins at `reserved`: the engine before it has sent no number from
//!   there on, because it takes numbers only once its shadow has acknowledged that they are taken.
//! - *Inbound* everything up to a floor is refused. After a planned handover the floor is the exact window. After a crash it
//!   is the *limit*: the engine before has accepted no number above it, because its workers raise it only once its shadow
//!   has acknowledged that. An engine that its shadow did not hear goes on without it after [`patience`]: for the time since
//!   then the floor is as much higher as the SA was fast.

use crate::message::SaParameters;
use dataplane::id::{Nanos, Spi};
use dataplane::replay::WindowState;
use std::collections::BTreeMap;
use std::fmt;

/// Which key, without saying the key: 16 octets of its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// From a digest.
    pub const fn new(digest: [u8; 16]) -> KeyId {
        KeyId(digest)
    }

    /// The digest.
    pub const fn octets(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// A pair of SAs, without their keys: both engines have those from their operator, and the channel never carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaState {
    /// The key of what arrives.
    pub key_in: KeyId,
    /// The key of what leaves.
    pub key_out: KeyId,
    /// The SPI of what arrives.
    pub spi_in: Spi,
    /// The SPI of what leaves.
    pub spi_out: Spi,
    /// Algorithm and sequence numbers.
    pub parameters: SaParameters,
    /// The last epoch that its engine took.
    pub epoch: u16,
    /// Its engine sends no sequence number from here on before this has grown and was acknowledged.
    pub reserved: u64,
    /// Its engine accepts no sequence number above this before it has grown and was acknowledged.
    pub limit: u64,
    /// Sequence numbers that came in a second lately, at most.
    pub rate: u32,
}

/// Which sequence numbers an inbound SA has accepted.
pub type SaWindow = WindowState;

/// What is known of one.
#[derive(Clone, Debug)]
struct Known {
    state: SaState,
    exact: Option<SaWindow>,
    /// Written down: no number above this has been accepted.
    kept: u64,
}

/// Where an inbound SA goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Floor {
    /// Exactly here: its engine has handed it over.
    Exact(SaWindow),
    /// Nothing up to this number is accepted.
    Above(u64),
}

/// The SAs of another engine.
#[derive(Debug, Default)]
pub struct ShadowedSas {
    by_key: BTreeMap<KeyId, Known>,
    /// When anything was heard of the engine.
    heard: Nanos,
    /// Those that reserve more than is written down.
    reserved: Vec<SaState>,
}

impl ShadowedSas {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Their engine lives: what it did not say by now had not happened.
    pub fn alive(&mut self, now: Nanos) {
        self.heard = self.heard.max(now);
    }

    /// How long nothing was heard of their engine; `None` if nothing ever was.
    pub fn silence(&self, now: Nanos) -> Option<Nanos> {
        (self.heard > Nanos(0)).then(|| now.since(self.heard))
    }

    /// An SA's state.
    pub fn set(&mut self, state: SaState, now: Nanos) {
        self.alive(now);
        let known = self.by_key.entry(state.key_in);
        let known = known.or_insert(Known { state, exact: None, kept: 0 });
        let reserved = known.state.reserved.max(state.reserved);
        let more =
            state.reserved > known.state.reserved || known.state == state || known.state.epoch != state.epoch;
        (known.state, known.exact) = (SaState { reserved, ..state }, None);
        if more || state.limit > known.kept {
            known.kept = to_keep(state.limit, state.rate);
            self.reserved.push(known.state);
        }
    }

    /// What was reserved since the last look: to be written down before it is acknowledged.
    pub fn take_reserved(&mut self) -> Vec<SaState> {
        std::mem::take(&mut self.reserved)
    }

    /// So far its inbound half goes now, and so fast it is. A limit sinks only once it is in force.
    pub fn limit(&mut self, key: KeyId, (limit, rate): (u64, u32), now: Nanos) {
        self.alive(now);
        if let Some(known) = self.by_key.get_mut(&key) {
            (known.state.limit, known.state.rate, known.exact) = (limit, rate, None);
            if limit > known.kept {
                known.kept = to_keep(limit, rate);
                self.reserved.push(known.state);
            }
        }
    }

    /// Its engine has let go of it.
    pub fn released(&mut self, key: KeyId, window: SaWindow, now: Nanos) {
        self.alive(now);
        if let Some(known) = self.by_key.get_mut(&key) {
            (known.state.limit, known.exact) = (window.top, Some(window));
        }
    }

    /// All of them.
    pub fn states(&self) -> impl Iterator<Item = &SaState> {
        self.by_key.values().map(|known| &known.state)
    }

    /// The SA that receives under this key.
    pub fn state(&self, key_in: KeyId) -> Option<&SaState> {
        self.by_key.get(&key_in).map(|known| &known.state)
    }

    /// Their engine was heard a moment ago: whatever it said, it has not done more than that.
    pub fn is_heard(&self, now: Nanos) -> bool {
        self.silence(now).is_some_and(|silence| silence < HEARD)
    }

    /// Where the SA that receives under `key_in` goes on at a takeover at `now`; `None` for one that was never heard of.
    pub fn floor(&self, key_in: KeyId, now: Nanos) -> Option<Floor> {
        let known = self.by_key.get(&key_in)?;
        match &known.exact {
            Some(window) if self.is_heard(now) => Some(Floor::Exact(window.clone())),
            _ => {
                let SaState { limit, rate, .. } = known.state;
                Some(Floor::Above(limit.saturating_add(unheard(rate, self.silence(now).unwrap_or_default()))))
            }
        }
    }
}

/// An engine says something this often, if only that it lives.
pub const BEAT: Nanos = Nanos::from_millis(100);
/// One that has said nothing for so long may have done more than it said.
const HEARD: Nanos = Nanos::from_millis(350);
/// SAs up to this rate, numbers a second, wait for their shadow: their packets are few enough to be held meanwhile.
const SLOW: u32 = 24;
/// So long.
const HELD: Nanos = Nanos::from_millis(2_000);

/// How long an engine whose shadow is gone waits before it accepts more than the shadow knows of.
pub const fn patience(rate: u32) -> Nanos {
    if rate <= SLOW { HELD } else { Nanos(0) }
}

/// What is written down of a limit, for a process that starts anew and has heard nothing yet: so much more that it is
/// written every few seconds at most.
pub fn to_keep(limit: u64, rate: u32) -> u64 {
    limit.saturating_add(16 + 8 * u64::from(rate))
}

/// Numbers that an engine may have accepted in a time in which it was not heard.
pub fn unheard(rate: u32, silence: Nanos) -> u64 {
    // In whole milliseconds, rounded up: a gap is never taken for shorter than it was.
    let gap_ms = silence.since(patience(rate)).0.div_ceil(1_000_000);
    let numbers = (u128::from(rate) * u128::from(gap_ms)).div_ceil(1000);
    u64::try_from(numbers).unwrap_or(u64::MAX)
}
