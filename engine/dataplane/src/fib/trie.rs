//! A multibit trie with compressed nodes, after Poptrie (Asai and Ohara, SIGCOMM 2015): each
//! node resolves 6 bits with one population count, and equal neighbouring leaves are stored once.
//! The first 16 bits are indexed directly, and bits in which all routes agree are compared at once.

use crate::id::NextHopId;
use std::collections::HashMap;

/// Bits that a node resolves.
const STRIDE: u32 = 6;
/// Slots of a node.
const SLOTS: usize = 1 << STRIDE;
/// Bits that the direct table resolves: 256 KiB, of which little is touched, in place of two to three nodes.
const DIRECT_BITS: u32 = 16;
/// Marks an entry of the direct table that is a node; a leaf otherwise.
const NODE: u32 = 1 << 31;

/// A destination address as bits, most significant first.
pub(super) trait Key: Copy {
    /// How many leading bits two addresses share.
    fn common(self, other: Self) -> u32;
    /// The `n` ≤ 16 bits from bit `at` on; zeros follow the last bit.
    fn bits(self, at: u32, n: u32) -> usize;
}

impl Key for u32 {
    #[inline]
    fn common(self, other: u32) -> u32 {
        (self ^ other).leading_zeros()
    }

    #[inline]
    fn bits(self, at: u32, n: u32) -> usize {
        // Through u64, so that n = 0 shifts by less than the width.
        (u64::from(self << at) << n >> 32) as usize
    }
}

impl Key for u128 {
    #[inline]
    fn common(self, other: u128) -> u32 {
        (self ^ other).leading_zeros()
    }

    #[inline]
    fn bits(self, at: u32, n: u32) -> usize {
        (((self << at) >> 64) as u64 as u128 >> (64 - n)) as usize
    }
}

/// A route; the bits behind `len` are zero.
pub(super) struct Route<K> {
    pub bits: K,
    pub len: u8,
    pub next_hop: NextHopId,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Bit s: slot s is a node, found at `node_base` + the number of such slots before it.
    is_node: u64,
    /// Bit s: slot s is a leaf and differs from the leaf before it.
    starts_leaf: u64,
    node_base: u32,
    leaf_base: u32,
}

impl Node {
    /// In place of a node: `leaf_base` names a [`Skip`], `node_base` the node behind it. Without a bit it is no
    /// other node, as in those each slot is a node or a leaf, and the first leaf starts.
    fn skip(skip: usize, next: u32) -> Node {
        Node { is_node: 0, starts_leaf: 0, node_base: next, leaf_base: skip as u32 }
    }

    #[inline]
    fn is_skip(&self) -> bool {
        self.is_node | self.starts_leaf == 0
    }
}

/// Bits that all routes behind it share.
#[derive(Debug)]
struct Skip<K> {
    /// One of those routes.
    bits: K,
    /// They share this many bits from the first one on.
    end: u32,
    /// Where the address differs.
    otherwise: u32,
}

/// An immutable longest-prefix match over addresses of one family.
#[derive(Debug)]
pub(super) struct Trie<K> {
    direct: Box<[u32]>,
    nodes: Box<[Node]>,
    skips: Box<[Skip<K>]>,
    /// Indices into `next_hops`.
    leaves: Box<[u32]>,
    /// Distinct next hops; the first is `None`.
    next_hops: Box<[Option<NextHopId>]>,
}

/// Bits at or before `slot`.
#[inline]
fn up_to(slot: usize) -> u64 {
    u64::MAX >> (SLOTS - 1 - slot)
}

impl<K: Key> Trie<K> {
    /// From routes sorted by (bits, len).
    pub fn build(routes: &[Route<K>]) -> Trie<K> {
        let mut builder = Builder {
            nodes: vec![],
            skips: vec![],
            leaves: vec![],
            next_hops: vec![None],
            known: HashMap::new(),
        };
        let mut slots = vec![Slot::Leaf(0); 1 << DIRECT_BITS];
        builder.fill(&mut slots, routes, 0, DIRECT_BITS);
        let direct = slots.iter().map(|slot| match *slot {
            Slot::Leaf(leaf) => leaf,
            Slot::Node { routes, inherited } => {
                let node = builder.reserve(1);
                builder.node(node, routes, DIRECT_BITS, inherited);
                node | NODE
            }
        });
        Trie {
            direct: direct.collect(),
            nodes: builder.nodes.into(),
            skips: builder.skips.into(),
            leaves: builder.leaves.into(),
            next_hops: builder.next_hops.into(),
        }
    }

    /// The longest match.
    #[inline]
    pub fn lookup(&self, key: K) -> Option<NextHopId> {
        let entry = self.direct[key.bits(0, DIRECT_BITS)];
        if entry & NODE == 0 {
            return self.next_hops[entry as usize];
        }
        let mut node = &self.nodes[(entry & !NODE) as usize];
        let mut at = DIRECT_BITS;
        loop {
            if node.is_skip() {
                let skip = &self.skips[node.leaf_base as usize];
                if key.common(skip.bits) < skip.end {
                    return self.next_hops[skip.otherwise as usize];
                }
                at = skip.end;
                node = &self.nodes[node.node_base as usize];
            }
            let slot = key.bits(at, STRIDE);
            let before = up_to(slot);
            if node.is_node >> slot & 1 == 0 {
                let leaf = node.leaf_base + (node.starts_leaf & before).count_ones() - 1;
                return self.next_hops[self.leaves[leaf as usize] as usize];
            }
            node = &self.nodes[(node.node_base + (node.is_node & before).count_ones() - 1) as usize];
            at += STRIDE;
        }
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.direct)
            + size_of_val(&*self.nodes)
            + size_of_val(&*self.skips)
            + size_of_val(&*self.leaves)
            + size_of_val(&*self.next_hops)
    }
}

/// What a slot of a node under construction leads to.
enum Slot<'r, K> {
    Leaf(u32),
    /// A node for the longer `routes`; `inherited` holds where none of them matches.
    Node {
        routes: &'r [Route<K>],
        inherited: u32,
    },
}

// Derived, they would ask the same of K.
impl<K> Clone for Slot<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Slot<'_, K> {}

struct Builder<K> {
    nodes: Vec<Node>,
    skips: Vec<Skip<K>>,
    leaves: Vec<u32>,
    next_hops: Vec<Option<NextHopId>>,
    known: HashMap<NextHopId, u32>,
}

impl<K: Key> Builder<K> {
    /// The first of `n` new nodes in a row.
    fn reserve(&mut self, n: usize) -> u32 {
        let first = self.nodes.len() as u32;
        self.nodes.resize(self.nodes.len() + n, Node::default());
        first
    }

    fn next_hop(&mut self, next_hop: NextHopId) -> u32 {
        *self.known.entry(next_hop).or_insert_with(|| {
            self.next_hops.push(Some(next_hop));
            self.next_hops.len() as u32 - 1
        })
    }

    /// Lays `routes`, all longer than `at` bits or the default route, over the 2^`n` slots for the
    /// bits from `at` on. A prefix comes before those inside it, so that later ones overwrite.
    fn fill<'r>(&mut self, slots: &mut [Slot<'r, K>], mut routes: &'r [Route<K>], at: u32, n: u32) {
        while let Some((route, rest)) = routes.split_first() {
            let first = route.bits.bits(at, n);
            let len = u32::from(route.len);
            if len <= at + n {
                let count = 1 << (at + n - len);
                let leaf = self.next_hop(route.next_hop);
                slots[first..first + count].fill(Slot::Leaf(leaf));
                routes = rest;
                continue;
            }
            let inside = routes.partition_point(|r| r.bits.bits(at, n) == first);
            let (inside, rest) = routes.split_at(inside);
            let Slot::Leaf(inherited) = slots[first] else {
                unreachable!("sorted: a slot's longer routes are in a row")
            };
            slots[first] = Slot::Node { routes: inside, inherited };
            routes = rest;
        }
    }

    /// Builds node `index` for `routes`, which are longer than `at` bits and equal in those.
    fn node(&mut self, mut index: u32, routes: &[Route<K>], mut at: u32, inherited: u32) {
        let end = shared(routes);
        // Up to one stride, a node does as well.
        if end > at + STRIDE {
            let next = self.reserve(1);
            self.nodes[index as usize] = Node::skip(self.skips.len(), next);
            self.skips.push(Skip { bits: routes[0].bits, end, otherwise: inherited });
            (index, at) = (next, end);
        }
        let mut slots = [Slot::Leaf(inherited); SLOTS];
        self.fill(&mut slots, routes, at, STRIDE);
        let mut node = Node { leaf_base: self.leaves.len() as u32, ..Node::default() };
        let mut last = None;
        for (s, slot) in slots.iter().enumerate() {
            match *slot {
                Slot::Node { .. } => node.is_node |= 1 << s,
                Slot::Leaf(leaf) if last != Some(leaf) => {
                    last = Some(leaf);
                    node.starts_leaf |= 1 << s;
                    self.leaves.push(leaf);
                }
                Slot::Leaf(_) => {}
            }
        }
        node.node_base = self.reserve(node.is_node.count_ones() as usize);
        self.nodes[index as usize] = node;
        let children = slots.iter().filter_map(|slot| match *slot {
            Slot::Node { routes, inherited } => Some((routes, inherited)),
            Slot::Leaf(_) => None,
        });
        for (child, (routes, inherited)) in (node.node_base..).zip(children) {
            self.node(child, routes, at + STRIDE, inherited);
        }
    }
}

/// How many leading bits `routes` share, short of the last bit of the shortest one, which a node resolves.
fn shared<K: Key>(routes: &[Route<K>]) -> u32 {
    let [first, .., last] = routes else { return routes.first().map_or(0, |route| u32::from(route.len) - 1) };
    let shortest = routes.iter().map(|route| u32::from(route.len)).min().unwrap_or(0);
    // Sorted: what the first and the last share, those in between share too.
    first.bits.common(last.bits).min(shortest - 1)
}
