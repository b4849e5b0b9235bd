//! The outside ports of one worker: which inside endpoint has which.

use super::Endpoint;
use crate::flow::{Hash, HashKeys, Index};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Ports below are not given out (RFC 4787 §4.2.1: those above 1023 are for everyone).
const FIRST: u16 = 1024;

/// What kind of port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// TCP port.
    Tcp,
    /// UDP port.
    Udp,
    /// Identifier of ICMP queries.
    Query,
}

const KINDS: usize = 3;

/// The ports of one worker among several: a range of all that are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortShare {
    first: u16,
    many: u16,
    /// The offsets of those that are given out here; the others only come with sessions of other engines.
    own: (u16, u16),
}

impl PortShare {
    /// The share of `worker` of `workers`.
    pub fn new(worker: u16, workers: u16) -> PortShare {
        let many = (u16::MAX - FIRST) / workers.max(1);
        PortShare { first: FIRST + many * worker.min(workers.saturating_sub(1)), many, own: (0, many) }
    }

    /// The same, of which this engine gives out only one of `parts`: while traffic moves from one engine to another both
    /// begin sessions, and neither may give out what the other does.
    #[must_use]
    pub fn part(self, part: u16, parts: u16) -> PortShare {
        let many = self.many / parts.max(1);
        let first = many * part.min(parts.saturating_sub(1));
        PortShare { own: (first, first + many), ..self }
    }

    fn gives_out(&self, offset: u16) -> bool {
        (self.own.0..self.own.1).contains(&offset)
    }

    /// Which of `workers` has `port` in its share.
    pub fn owner(port: u16, workers: u16) -> Option<u16> {
        let many = (u16::MAX - FIRST) / workers.max(1);
        port.checked_sub(FIRST).map(|offset| offset / many).filter(|&worker| worker < workers)
    }
}

/// No port of the pool is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no port is free")]
pub struct Exhausted;

/// Who has an outside port. Free without sessions.
#[derive(Clone, Copy)]
struct Mapping {
    inside: Endpoint,
    sessions: u32,
}

/// Free ports of one address and kind.
struct Free {
    /// Offsets of the free ones.
    offsets: Vec<u16>,
    /// By offset: where a free one is in `offsets`.
    places: Box<[u16]>,
}

impl Free {
    fn new(share: PortShare) -> Free {
        let mut free = Free {
            offsets: Vec::with_capacity(usize::from(share.own.1 - share.own.0)),
            places: vec![0; usize::from(share.many)].into(),
        };
        (share.own.0..share.own.1).for_each(|offset| free.put(offset));
        free
    }

    fn put(&mut self, offset: u16) {
        self.places[usize::from(offset)] = self.offsets.len() as u16;
        self.offsets.push(offset);
    }

    /// Takes the one at a place in `offsets`.
    fn take_at(&mut self, place: usize) -> u16 {
        let offset = self.offsets.swap_remove(place);
        if let Some(&moved) = self.offsets.get(place) {
            self.places[usize::from(moved)] = place as u16;
        }
        offset
    }

    /// Takes a certain one. False if it is not free.
    fn take(&mut self, offset: u16) -> bool {
        let place = usize::from(self.places[usize::from(offset)]);
        let free = self.offsets.get(place) == Some(&offset);
        if free {
            self.take_at(place);
        }
        free
    }
}

/// The outside ports of one worker. Every operation takes the same time however many are in use.
pub struct PortPool {
    addresses: Box<[Ipv4Addr]>,
    share: PortShare,
    /// By address, kind and offset in the share.
    mappings: Box<[Mapping]>,
    /// By address and kind.
    free: Box<[Free]>,
    /// Inside endpoint → mapping.
    index: Index,
    keys: HashKeys,
    random: u64,
    total: usize,
}

impl PortPool {
    /// All ports of `share` on each of `addresses`, but the `reserved` ones.
    pub fn new(
        addresses: &[Ipv4Addr],
        share: PortShare,
        reserved: impl Iterator<Item = (Kind, Endpoint)>,
        keys: HashKeys,
        seed: u64,
    ) -> PortPool {
        let sets = addresses.len() * KINDS;
        let many = sets * usize::from(share.many);
        let nobody = Endpoint { address: Ipv4Addr::BROADCAST, port: u16::MAX };
        let mut pool = PortPool {
            addresses: addresses.into(),
            share,
            mappings: vec![Mapping { inside: nobody, sessions: 0 }; many].into(),
            free: (0..sets).map(|_| Free::new(share)).collect(),
            index: Index::new(many.max(1)),
            keys,
            random: seed | 1,
            total: 0,
        };
        for (kind, endpoint) in reserved {
            if let Some((set, offset)) = pool.place(kind, endpoint) {
                pool.free[set].take(offset);
            }
        }
        pool.total = pool.free.iter().map(|free| free.offsets.len()).sum();
        pool
    }

    /// The outside endpoint of `inside`, held once more: the one it has, or a new one.
    pub fn acquire(&mut self, kind: Kind, inside: Endpoint) -> Result<Endpoint, Exhausted> {
        let hash = self.hash(kind, inside);
        if let Some(slot) = self.find(hash, kind, inside) {
            let mapping = &mut self.mappings[slot as usize];
            mapping.sessions = mapping.sessions.saturating_add(1);
            return Ok(self.outside(slot));
        }
        let many = self.addresses.len();
        let first =
            ((u64::from(inside.address.to_bits().wrapping_mul(0x9e37_79b1)) * many as u64) >> 32) as usize;
        for address in (0..many).map(|step| (first + step) % many) {
            let set = address * KINDS + kind as usize;
            let random = self.random();
            let free = &mut self.free[set];
            if free.offsets.is_empty() {
                continue;
            }
            let offset = free.take_at(((u64::from(random) * free.offsets.len() as u64) >> 32) as usize);
            let slot = (set * usize::from(self.share.many) + usize::from(offset)) as u32;
            if !self.index.insert(hash, slot) {
                self.free[set].put(offset);
                return Err(Exhausted);
            }
            self.mappings[slot as usize] = Mapping { inside, sessions: 1 };
            return Ok(self.outside(slot));
        }
        Err(Exhausted)
    }

    /// Gives `outside` to `inside`, or holds it once more if it has it. False if somebody else does, or nobody may.
    pub fn claim(&mut self, kind: Kind, inside: Endpoint, outside: Endpoint) -> bool {
        let Some((set, offset)) = self.place(kind, outside) else { return false };
        let slot = set * usize::from(self.share.many) + usize::from(offset);
        let mapping = &mut self.mappings[slot];
        if mapping.sessions > 0 {
            let same = mapping.inside == inside;
            mapping.sessions = mapping.sessions.saturating_add(u32::from(same));
            return same;
        }
        // A reserved port of our own is never free.
        if self.share.gives_out(offset) && !self.free[set].take(offset) {
            return false;
        }
        *mapping = Mapping { inside, sessions: 1 };
        let entered = self.index.insert(self.hash(kind, inside), slot as u32);
        if !entered {
            self.mappings[slot].sessions = 0;
            self.give_back(set, offset);
        }
        entered
    }

    /// A port that nobody holds any more.
    fn give_back(&mut self, set: usize, offset: u16) {
        if self.share.gives_out(offset) {
            self.free[set].put(offset);
        }
    }

    /// The inside endpoint that has `outside`, held once more.
    pub fn join(&mut self, kind: Kind, outside: Endpoint) -> Option<Endpoint> {
        let (set, offset) = self.place(kind, outside)?;
        let mapping = &mut self.mappings[set * usize::from(self.share.many) + usize::from(offset)];
        if mapping.sessions == 0 {
            return None;
        }
        mapping.sessions = mapping.sessions.saturating_add(1);
        Some(mapping.inside)
    }

    /// Lets go of `outside` once; free when nobody holds it.
    pub fn release(&mut self, kind: Kind, outside: Endpoint) {
        let Some((set, offset)) = self.place(kind, outside) else { return };
        let slot = set * usize::from(self.share.many) + usize::from(offset);
        let mapping = &mut self.mappings[slot];
        match mapping.sessions {
            0 => {}
            1 => {
                let inside = mapping.inside;
                mapping.sessions = 0;
                self.index.remove(self.hash(kind, inside), slot as u32);
                self.give_back(set, offset);
            }
            _ => mapping.sessions -= 1,
        }
    }

    /// The set and the offset in it of an outside endpoint.
    fn place(&self, kind: Kind, outside: Endpoint) -> Option<(usize, u16)> {
        let address = self.addresses.iter().position(|&address| address == outside.address)?;
        let offset = outside.port.checked_sub(self.share.first).filter(|&offset| offset < self.share.many)?;
        Some((address * KINDS + kind as usize, offset))
    }

    fn outside(&self, slot: u32) -> Endpoint {
        let many = u32::from(self.share.many);
        let (set, offset) = (slot / many, (slot % many) as u16);
        Endpoint { address: self.addresses[set as usize / KINDS], port: self.share.first + offset }
    }

    fn hash(&self, kind: Kind, inside: Endpoint) -> Hash {
        self.keys.words([inside.address.to_bits(), u32::from(inside.port) | (kind as u32) << 16])
    }

    fn find(&self, hash: Hash, kind: Kind, inside: Endpoint) -> Option<u32> {
        let many = usize::from(self.share.many);
        self.index.find(hash, |slot| {
            self.mappings[slot as usize].inside == inside && slot as usize / many % KINDS == kind as usize
        })
    }

    /// Xorshift64* (Vigna 2016): which port is free is guessed no easier than among all.
    fn random(&mut self) -> u32 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// Ports in use, and all.
    pub fn usage(&self) -> (usize, usize) {
        let free: usize = self.free.iter().map(|free| free.offsets.len()).sum();
        (self.total - free, self.total)
    }

    /// Memory, bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.mappings) + self.free.len() * usize::from(self.share.many) * 4 + self.index.bytes()
    }
}
