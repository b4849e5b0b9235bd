//! Reassembly of IPv4 and IPv6 datagrams (RFC 791 §3.2, RFC 815, RFC 8200 §4.5), where the walk needs the whole: a tunnel
//! packet for this engine that was fragmented on its way, or a packet that an ACL or a NAT must know the ports of.
//!
//! All memory is taken at start, and an attacker who sends fragments that never complete can take no more: at most
//! [`DATAGRAMS`] are under way in a worker and at most [`HELD`] fragments held. When either is reached the datagram that
//! began first makes room, so that one whose fragments come close together completes even then. Fragments that overlap
//! spoil their datagram (RFC 5722 §4), of IPv4 too (RFC 1858 §3); exact copies are dropped alone. Every fragment that
//! goes in comes out as a part of a whole packet or is reported to the caller under one reason.

mod datagram;
mod piece;
#[cfg(test)]
mod tests;

pub use datagram::FRAGMENTS;
pub use piece::{Key, Piece};

use crate::drop_reason::DropReason;
use crate::id::Nanos;
use crate::packet::{Packet, PacketPool};
use datagram::Datagram;
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};

/// Most datagrams under way in a worker.
pub const DATAGRAMS: usize = 256;
/// Most fragments that a worker holds.
pub const HELD: usize = 512;
/// How long fragments wait for the rest, from the first that came: RFC 791 §3.2 recommends 15 s, RFC 8200 §4.5 forbids
/// more than 60 s.
pub const PATIENCE: Nanos = Nanos::from_millis(15_000);
/// Places that a sweep looks at.
const SWEEP: usize = 8;

/// A tag that no datagram has.
const FREE: u32 = 0;

/// A worker's datagrams under way.
pub struct Reassembly<P> {
    /// By place: a hash of the key, [`FREE`] if nobody has the place. Looked through from end to end: 1 KiB.
    tags: Box<[u32]>,
    /// By place: when the first fragment came.
    since: Box<[Nanos]>,
    /// By place.
    keys: Box<[Option<Key>]>,
    /// By place.
    datagrams: Box<[Datagram<P>]>,
    held: usize,
    used: usize,
    swept: usize,
}

impl<P: Packet> Default for Reassembly<P> {
    fn default() -> Reassembly<P> {
        Reassembly::new()
    }
}

impl<P: Packet> Reassembly<P> {
    /// Takes all memory that will ever be needed.
    pub fn new() -> Reassembly<P> {
        Reassembly {
            tags: vec![FREE; DATAGRAMS].into(),
            since: vec![Nanos(0); DATAGRAMS].into(),
            keys: vec![None; DATAGRAMS].into(),
            datagrams: (0..DATAGRAMS).map(|_| Datagram::default()).collect(),
            held: 0,
            used: 0,
            swept: 0,
        }
    }

    /// Fragments held.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes the fragment `packet`, an IP packet whose header has been checked, and returns the whole datagram if it was
    /// the last one missing. `dropped` hears of every fragment that ends here: each part of a whole but one, as
    /// [`DropReason::Reassembled`], and each that is of no use.
    pub fn push<A: PacketPool<Packet = P>>(
        &mut self,
        packet: P,
        now: Nanos,
        pool: &mut A,
        dropped: &mut impl FnMut(DropReason),
    ) -> Option<P> {
        let piece = Piece::of(packet.data()).map_err(&mut *dropped).ok()?;
        let place = self.place(&piece.key, now, dropped);
        if let Err(reason) = self.datagrams[place].insert(packet, piece) {
            dropped(reason);
            if self.datagrams[place].is_spoilt() {
                // It keeps its place, so that the fragments still to come end here too.
                self.empty(place, reason, dropped);
            }
            return None;
        }
        self.held += 1;
        if !self.datagrams[place].is_complete() {
            self.make_room(place, dropped);
            return None;
        }
        let parts = self.datagrams[place].len();
        let whole = self.datagrams[place].join(pool);
        self.held -= parts;
        self.release(place);
        let fate = *whole.as_ref().err().unwrap_or(&DropReason::Reassembled);
        (1..parts).for_each(|_| dropped(fate));
        whole.map_err(dropped).ok()
    }

    /// Gives up datagrams whose time is over; a few places at each call, all of them in [`DATAGRAMS`] / 8 calls.
    #[inline]
    pub fn sweep(&mut self, now: Nanos, dropped: &mut impl FnMut(DropReason)) {
        if self.used > 0 {
            self.sweep_some(now, dropped);
        }
    }

    fn sweep_some(&mut self, now: Nanos, dropped: &mut impl FnMut(DropReason)) {
        for _ in 0..SWEEP {
            self.swept = (self.swept + 1) % DATAGRAMS;
            if self.tags[self.swept] != FREE && self.is_over(self.swept, now) {
                self.give_up(self.swept, DropReason::FragmentTimeout, dropped);
            }
        }
    }

    fn is_over(&self, place: usize, now: Nanos) -> bool {
        now.since(self.since[place]) >= PATIENCE
    }

    /// The place of a datagram, old or new.
    fn place(&mut self, key: &Key, now: Nanos, dropped: &mut impl FnMut(DropReason)) -> usize {
        let tag = tag(key);
        let known = (0..DATAGRAMS).find(|&at| self.tags[at] == tag && self.keys[at].as_ref() == Some(key));
        if let Some(known) = known {
            if !self.is_over(known, now) {
                return known;
            }
            self.give_up(known, DropReason::FragmentTimeout, dropped);
        }
        let free = self.tags.iter().position(|&tag| tag == FREE).unwrap_or_else(|| {
            // All places are taken: there is an oldest.
            let oldest = self.oldest(|_| true).unwrap_or(0);
            self.give_up(oldest, DropReason::FragmentEvicted, dropped);
            oldest
        });
        self.tags[free] = tag;
        self.keys[free] = Some(*key);
        self.since[free] = now;
        self.used += 1;
        free
    }

    /// The datagram that began first, of those that `counts` accepts.
    fn oldest(&self, counts: impl Fn(usize) -> bool) -> Option<usize> {
        let taken = (0..DATAGRAMS).filter(|&at| self.tags[at] != FREE && counts(at));
        taken.min_by_key(|&at| self.since[at])
    }

    /// Keeps to [`HELD`].
    fn make_room(&mut self, newest: usize, dropped: &mut impl FnMut(DropReason)) {
        while self.held > HELD
            && let Some(oldest) = self.oldest(|at| at != newest && self.datagrams[at].len() > 0)
        {
            self.give_up(oldest, DropReason::FragmentEvicted, dropped);
        }
    }

    fn give_up(&mut self, place: usize, reason: DropReason, dropped: &mut impl FnMut(DropReason)) {
        self.empty(place, reason, dropped);
        self.release(place);
    }

    fn empty(&mut self, place: usize, reason: DropReason, dropped: &mut impl FnMut(DropReason)) {
        let count = self.datagrams[place].clear();
        self.held -= count;
        (0..count).for_each(|_| dropped(reason));
    }

    fn release(&mut self, place: usize) {
        self.datagrams[place] = Datagram::default();
        self.tags[place] = FREE;
        self.keys[place] = None;
        self.used -= 1;
    }
}

fn tag(key: &Key) -> u32 {
    let mut hasher = FxHasher::default();
    (key.src, key.dst, key.id, key.protocol).hash(&mut hasher);
    (hasher.finish() >> 32) as u32 | 1
}
