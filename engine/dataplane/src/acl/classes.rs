//! Address → class: the longest of a set of prefixes. A trie with strides of six bits behind a root of sixteen, runs
//! of equal entries packed by population count (after Asai and Ohara, "Poptrie", 2015).

/// Bits that the root decides.
const ROOT: u8 = 16;
/// Bits that every other node decides.
const STRIDE: u8 = 6;
/// An entry that is a node, not a class.
const NODE: u32 = 1 << 31;

/// Steps behind the root that decide every IPv4 address.
pub(super) const STEPS4: usize = 3;

/// A prefix: its bits, left-aligned, and its length.
pub(super) type Prefix = (u128, u8);

#[derive(Clone, Copy, Default)]
struct Node {
    /// Where, among its 64 parts, a run of equal entries begins.
    runs: u64,
    first: u32,
}

/// The classes of one dimension.
pub(super) struct Classes {
    root: Box<[u32]>,
    nodes: Vec<Node>,
    entries: Vec<u32>,
}

/// A class and its prefix, among those a node is built from.
type Classed = (Prefix, u16);

impl Classes {
    /// `prefixes` are sorted and begin with the one of length 0; a class is a place in that order. At most
    /// 65,536.
    pub(super) fn new(prefixes: &[Prefix]) -> Classes {
        let classed: Vec<Classed> = prefixes.iter().copied().zip(0..=u16::MAX).collect();
        // The first node is nobody's child: lookups that are over idle in it.
        let idle = Node { runs: 1, first: 0 };
        let mut classes = Classes { root: Box::default(), nodes: vec![idle], entries: vec![0] };
        let (mut parts, deeper) = spread(&classed, 0, ROOT, 0);
        for (part, prefixes) in deeper {
            parts[part] = NODE | classes.node(prefixes, ROOT, parts[part] as u16);
        }
        classes.root = parts.into();
        classes
    }

    /// Makes a node, `depth` bits deep, where `inherited` is the class of what has no longer prefix.
    fn node(&mut self, prefixes: &[Classed], depth: u8, inherited: u16) -> u32 {
        let (mut parts, deeper) = spread(prefixes, depth, STRIDE, inherited);
        let number = self.nodes.len() as u32;
        self.nodes.push(Node::default());
        for (part, prefixes) in deeper {
            parts[part] = NODE | self.node(prefixes, depth + STRIDE, parts[part] as u16);
        }
        let mut node = Node { runs: 0, first: self.entries.len() as u32 };
        let mut last = None;
        for (part, entry) in parts.into_iter().enumerate() {
            if last != Some(entry) {
                node.runs |= 1 << part;
                self.entries.push(entry);
                last = Some(entry);
            }
        }
        self.nodes[number as usize] = node;
        number
    }

    /// The first step for an IPv4 address; [`STEPS4`] times [`Classes::step4`] then lead to its class.
    #[inline]
    pub(super) fn begin4(&self, bits: u32) -> u32 {
        self.root[(bits >> 16) as usize & 0xffff]
    }

    /// One step further, or none if `entry` is the class. Without a branch, so that the lookups of a burst overlap.
    #[inline]
    pub(super) fn step4(&self, entry: u32, bits: u32, step: usize) -> u32 {
        self.step(entry, bits << (ROOT as usize + step * STRIDE as usize) >> 26)
    }

    #[inline]
    fn step(&self, entry: u32, part: u32) -> u32 {
        let on = entry & NODE != 0;
        let node = &self.nodes[if on { (entry & !NODE) as usize } else { 0 }];
        let run = (node.runs & (2_u64 << part).wrapping_sub(1)).count_ones();
        let next = self.entries[(node.first + run - 1) as usize];
        if on { next } else { entry }
    }

    /// The class of an IPv6 address.
    #[inline]
    pub(super) fn of6(&self, bits: u128) -> u16 {
        let mut entry = self.root[(bits >> 112) as usize & 0xffff];
        let mut rest = bits << ROOT;
        while entry & NODE != 0 {
            entry = self.step(entry, (rest >> 122) as u32);
            rest <<= STRIDE;
        }
        entry as u16
    }

    /// Memory, bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.root) + size_of_val(&*self.nodes) + size_of_val(&*self.entries)
    }
}

/// The class of each of the 2^`stride` parts of a node, and, for the parts that hold longer prefixes, these.
fn spread(
    prefixes: &[Classed],
    depth: u8,
    stride: u8,
    inherited: u16,
) -> (Vec<u32>, Vec<(usize, &[Classed])>) {
    let mut parts = vec![u32::from(inherited); 1 << stride];
    let mut deeper: Vec<(usize, &[Classed])> = Vec::new();
    // A prefix comes before those inside it, so the longest is written last.
    for (at, &((bits, length), class)) in prefixes.iter().enumerate() {
        let part = (bits << depth >> (128 - stride)) as usize;
        if length <= depth + stride {
            parts[part..part + (1 << (depth + stride - length))].fill(u32::from(class));
            continue;
        }
        match deeper.last_mut() {
            // Those of one part stand side by side.
            Some((last, slice)) if *last == part => *slice = &prefixes[at - slice.len()..=at],
            _ => deeper.push((part, &prefixes[at..=at])),
        }
    }
    (parts, deeper)
}
