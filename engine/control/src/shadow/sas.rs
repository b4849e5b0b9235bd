//! SAs with peers that cannot have one pair of SAs for each engine (the case of [`dataplane::sa::Partition`]), as their
//! engine's standby knows them, and where their counters go on when it takes over.
//!
//! - *Outbound* the standby takes a new epoch of its own and begins at `reserved`: the engine before it has sent no number from
//!   there on, because it takes numbers only once its shadow has acknowledged that they are taken.
//! - *Inbound* everything up to a floor is refused. After a planned handover the floor is the exact window; after a
//!   crash it is the last number heard of plus as many as the SA's peak rate makes of the time since then: what the
//!   engine before may have accepted without a word.

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
    /// The highest sequence number that was accepted.
    pub top: u64,
    /// The most packets accepted in a second.
    pub peak: u32,
}

/// Which sequence numbers an inbound SA has accepted.
pub type SaWindow = WindowState;

/// What is known of one.
#[derive(Clone, Debug)]
struct Known {
    state: SaState,
    /// When its engine was heard of last.
    heard: Nanos,
    exact: Option<SaWindow>,
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
    /// Those that reserve more than before.
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
        let known = known.or_insert(Known { state, heard: now, exact: None });
        let (top, peak) = (known.state.top.max(state.top), known.state.peak.max(state.peak));
        let reserved = known.state.reserved.max(state.reserved);
        let more =
            state.reserved > known.state.reserved || known.state == state || known.state.epoch != state.epoch;
        *known = Known { state: SaState { top, peak, reserved, ..state }, heard: now, exact: None };
        if more {
            self.reserved.push(known.state);
        }
    }

    /// What was reserved since the last look: to be written down before it is acknowledged.
    pub fn take_reserved(&mut self) -> Vec<SaState> {
        std::mem::take(&mut self.reserved)
    }

    /// Its inbound half went on.
    pub fn progress(&mut self, key: KeyId, top: u64, peak: u32, now: Nanos) {
        self.alive(now);
        if let Some(known) = self.by_key.get_mut(&key) {
            known.state.top = known.state.top.max(top);
            known.state.peak = known.state.peak.max(peak);
            (known.heard, known.exact) = (now, None);
        }
    }

    /// Its engine has let go of it.
    pub fn released(&mut self, key: KeyId, window: SaWindow, now: Nanos) {
        self.alive(now);
        if let Some(known) = self.by_key.get_mut(&key) {
            known.state.top = known.state.top.max(window.top);
            (known.heard, known.exact) = (now, Some(window));
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

    /// Where the SA that receives under `key_in` goes on at a takeover at `now`; `None` for one that was never heard of.
    pub fn floor(&self, key_in: KeyId, now: Nanos) -> Option<Floor> {
        let known = self.by_key.get(&key_in)?;
        if let Some(window) = &known.exact {
            return Some(Floor::Exact(window.clone()));
        }
        let SaState { top, peak, .. } = known.state;
        // In whole milliseconds, rounded up: a gap is never taken for shorter than it was.
        let gap_ms = now.since(known.heard.max(self.heard)).0.div_ceil(1_000_000);
        let unheard = (u128::from(peak) * u128::from(gap_ms)).div_ceil(1000);
        Some(Floor::Above(top.saturating_add(u64::try_from(unheard).unwrap_or(u64::MAX))))
    }
}

/// The most packets in a second that one SA has accepted, by windows of 100 ms: a burst counts as if it went on.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeakRate {
    began: Nanos,
    base: u64,
    peak: u32,
}

impl PeakRate {
    /// A window.
    const WINDOW: Nanos = Nanos::from_millis(100);

    /// The highest sequence number is `top` by now.
    pub fn note(&mut self, top: u64, now: Nanos) {
        let passed = now.since(self.began).max(Self::WINDOW);
        // The packets at both ends of a window are one more than the steps between them, and a rate is never taken for lower.
        let packets = u128::from(top.saturating_sub(self.base)) + 1;
        let rate = (packets * 1_000_000_000).div_ceil(u128::from(passed.0));
        if self.base > 0 {
            self.peak = self.peak.max(u32::try_from(rate).unwrap_or(u32::MAX));
        }
        if now.since(self.began) >= Self::WINDOW || self.base == 0 {
            (self.began, self.base) = (now, top);
        }
    }

    /// Packets a second.
    pub fn peak(&self) -> u32 {
        self.peak
    }
}
