//! The anti-replay window of an inbound SA: RFC 4303 §3.4.3, and Appendix A2 for the high half of
//! extended sequence numbers (ESN). The bitmap is a ring of words as in RFC 6479: moving the
//! window clears whole words and never shifts bits.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// Why a sequence number was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Zero: a sender's first packet is 1, and its number never cycles (RFC 4303 §3.3.3).
    #[error("sequence number 0 is never sent")]
    Zero,
    /// Left of the window.
    #[error("sequence number left of the anti-replay window")]
    TooOld,
    /// Accepted before.
    #[error("sequence number was seen before")]
    Duplicate,
    /// Right of the last extended sequence number.
    #[error("sequence number beyond 2^64")]
    Overflow,
    /// Above the [limit](ReplayWindow::set_limit).
    #[error("sequence number above the limit")]
    Ahead,
}

/// A window size in packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize(u32);

impl WindowSize {
    /// A multiple of 64 between 64 and 4096, as RFC 4303 §3.4.3 asks for 32 at least; `None` otherwise.
    pub const fn new(packets: u32) -> Option<WindowSize> {
        if packets >= 64 && packets <= 4096 && packets.is_multiple_of(64) {
            Some(WindowSize(packets))
        } else {
            None
        }
    }

    /// In packets.
    pub const fn packets(self) -> u32 {
        self.0
    }
}

impl Default for WindowSize {
    /// 1024: a burst's worth of reordering at any rate that one SA reaches.
    fn default() -> WindowSize {
        WindowSize(1024)
    }
}

/// What another engine needs to go on with a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowState {
    /// The highest accepted sequence number.
    pub top: u64,
    /// Bit n of word w: whether `top` − (64·w + n) was accepted. What lies behind the last word counts as accepted.
    pub accepted: Vec<u64>,
}

impl WindowState {
    /// The most words: those of the largest window.
    pub const WORDS: usize = 64;
}

/// Which sequence numbers have been accepted.
#[derive(Debug)]
pub struct ReplayWindow {
    /// The highest accepted sequence number; 0 before the first.
    top: u64,
    /// The highest sequence number that may be accepted.
    limit: u64,
    size: WindowSize,
    esn: bool,
    /// Bit n of word w: number 64·w' + n was accepted, w' ≡ w modulo the ring's length.
    ring: Box<[u64]>,
}

impl ReplayWindow {
    /// Before the first packet. With `esn`, sequence numbers have 64 bits.
    pub fn new(size: WindowSize, esn: bool) -> ReplayWindow {
        // One word more than the window, as its left edge is rarely a word's; a power of two for the mask.
        let words = (size.0 as usize / 64 + 1).next_power_of_two();
        ReplayWindow { top: 0, limit: u64::MAX, size, esn, ring: vec![0; words].into() }
    }

    /// Everything up to `floor` counts as accepted.
    pub fn above(floor: u64, size: WindowSize, esn: bool) -> ReplayWindow {
        ReplayWindow::resumed(&WindowState { top: floor, accepted: Vec::new() }, size, esn)
    }

    /// Where the window that `state` is of has ended.
    pub fn resumed(state: &WindowState, size: WindowSize, esn: bool) -> ReplayWindow {
        let mut window = ReplayWindow::new(size, esn);
        window.top = state.top;
        let mask = window.ring.len() - 1;
        for behind in 0..u64::from(size.0).min(state.top) {
            let word = state.accepted.get((behind / 64) as usize).unwrap_or(&u64::MAX);
            let seq = state.top - behind;
            window.ring[(seq / 64) as usize & mask] |= (word >> (behind % 64) & 1) << (seq % 64);
        }
        window
    }

    /// What another engine needs to go on.
    pub fn state(&self) -> WindowState {
        let mut accepted = vec![0; (self.size.0 / 64) as usize];
        for behind in 0..u64::from(self.size.0) {
            // Numbers that never were count as accepted.
            let taken = self.top.checked_sub(behind).is_none_or(|seq| seq == 0 || self.admit(seq).is_err());
            accepted[(behind / 64) as usize] |= u64::from(taken) << (behind % 64);
        }
        WindowState { top: self.top, accepted }
    }

    /// The highest accepted sequence number.
    pub fn top(&self) -> u64 {
        self.top
    }

    /// Accepts nothing at all until a [limit](Self::set_limit) is set, not even what came late.
    pub fn close(&mut self) {
        self.limit = 0;
    }

    /// Accepts nothing above `limit` from now on, or nothing new, if it has accepted more already. Returns what is in force.
    pub fn set_limit(&mut self, limit: u64) -> u64 {
        self.limit = limit.max(self.top);
        self.limit
    }

    /// The whole sequence number of a packet that carries `seq_low`, if the window would take it.
    /// Call before the ICV is verified, and [`accept`](Self::accept) after.
    #[inline]
    pub fn check(&self, seq_low: u32) -> Result<u64, ReplayError> {
        let seq = if self.esn { self.infer(seq_low)? } else { u64::from(seq_low) };
        self.admit(seq)?;
        Ok(seq)
    }

    /// The same of a packet that carries the whole `seq`.
    #[inline]
    pub fn check_whole(&self, seq: u64) -> Result<(), ReplayError> {
        self.admit(seq)
    }

    /// Marks a number as seen, once its ICV was verified. Looks again, as another packet with the
    /// same number may have been accepted since [`check`](Self::check). Only here the limit counts: what is above it is to be
    /// authentic before anybody raises the limit for it.
    #[inline]
    pub fn accept(&mut self, seq: u64) -> Result<(), ReplayError> {
        self.admit(seq)?;
        let mask = self.ring.len() - 1;
        let (word, top_word) = (seq / 64, self.top / 64);
        if seq > self.limit {
            return Err(ReplayError::Ahead);
        }
        if seq > self.top {
            let new = (word - top_word).min(self.ring.len() as u64);
            for n in 1..=new {
                self.ring[(top_word + n) as usize & mask] = 0;
            }
            self.top = seq;
        }
        self.ring[word as usize & mask] |= 1 << (seq % 64);
        Ok(())
    }

    /// RFC 4303 §3.4.3: the window's three parts.
    #[inline]
    fn admit(&self, seq: u64) -> Result<(), ReplayError> {
        if seq == 0 {
            return Err(ReplayError::Zero);
        }
        if seq > self.top {
            return Ok(());
        }
        if self.top - seq >= u64::from(self.size.0) {
            return Err(ReplayError::TooOld);
        }
        let word = self.ring[(seq / 64) as usize & (self.ring.len() - 1)];
        if word >> (seq % 64) & 1 == 1 { Err(ReplayError::Duplicate) } else { Ok(()) }
    }

    /// RFC 4303 Appendix A2.2: the high half follows from where the low half lies to the window.
    #[inline]
    fn infer(&self, low: u32) -> Result<u64, ReplayError> {
        let (top_high, top_low) = ((self.top >> 32) as u32, self.top as u32);
        let bottom_low = top_low.wrapping_sub(self.size.0 - 1);
        let high = if top_low >= self.size.0 - 1 {
            // Case A: the window lies within one subspace.
            if low >= bottom_low { top_high } else { top_high.checked_add(1).ok_or(ReplayError::Overflow)? }
        } else {
            // Case B: the window spans two subspaces. There is none before the first.
            if low >= bottom_low { top_high.checked_sub(1).ok_or(ReplayError::TooOld)? } else { top_high }
        };
        Ok(u64::from(high) << 32 | u64::from(low))
    }
}
