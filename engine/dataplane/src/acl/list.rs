//! Lists of rules. A rule is 32 bytes, and all of its ranges are compared by four subtractions.

use std::hint::black_box;

/// What a rule compares: classes of source and destination, two ports, input, protocol.
pub(super) const LANES: usize = 6;
/// Entries compared whether the list has as many or not.
const EAGER: usize = 2;
/// Most rules in a list that needs no [`Node`].
const SHORT: usize = 255;
/// No rule.
pub(super) const NOBODY: u32 = (1 << (64 - PLACE)) - 1;

/// Where, in the second word of a rule's least numbers, its place among all rules begins.
const PLACE: u32 = 45;
/// Where the lanes begin, three a word. Above each number, one bit is its guard.
const SHIFTS: [u32; LANES] = [0, 17, 34, 0, 17, 34];
/// The guards of the first and the second word; of the fifth lane, the protocol, 10 bits are a number.
const GUARDS: [u64; 2] = [1 << 16 | 1 << 33 | 1 << 50, 1 << 16 | 1 << 33 | 1 << 44];

/// A packet's numbers.
#[derive(Clone, Copy, Default)]
pub(super) struct Lanes([u64; 2]);

impl Lanes {
    /// The last but one lane holds input, the last one, at most 10 bits, the protocol.
    #[inline]
    pub(super) const fn new(numbers: [u16; LANES]) -> Lanes {
        let [a, b, c, d, e, f] = numbers;
        Lanes([pack(a, b, c), pack(d, e, f)])
    }

    #[inline]
    const fn get(self, lane: usize) -> u16 {
        (self.0[lane / 3] >> SHIFTS[lane]) as u16
    }
}

#[inline]
const fn pack(a: u16, b: u16, c: u16) -> u64 {
    a as u64 | (b as u64) << SHIFTS[1] | (c as u64) << SHIFTS[2]
}

/// A rule: the least and the greatest number of each lane.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Entry {
    least: [u64; 2],
    greatest: [u64; 2],
}

impl Entry {
    fn new(ranges: &[(u16, u16); LANES], rule: u32) -> Entry {
        let Lanes(mut least) = Lanes::new(ranges.map(|(least, _)| least));
        let Lanes([a, b]) = Lanes::new(ranges.map(|(_, greatest)| greatest));
        least[1] |= u64::from(rule) << PLACE;
        Entry { least, greatest: [a | GUARDS[0], b | GUARDS[1]] }
    }

    /// Its place if it matches, else [`NOBODY`]. Without a branch.
    #[inline]
    fn matching(&self, lanes: &Lanes) -> u32 {
        let [a, b] = lanes.0;
        // A number that is not less leaves the guard above it as it was. The place, above them, borrows from nothing.
        let first = (a | GUARDS[0]).wrapping_sub(self.least[0]) & self.greatest[0].wrapping_sub(a);
        let second = (b | GUARDS[1]).wrapping_sub(self.least[1]) & self.greatest[1].wrapping_sub(b);
        let missing = !first & GUARDS[0] | !second & GUARDS[1];
        if missing == 0 { (self.least[1] >> PLACE) as u32 } else { NOBODY }
    }
}

/// A list: where its entries begin, and, in the lowest byte, how many they are; or, with the highest bit, a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct List(u32);

impl List {
    /// Without a rule.
    pub(super) const NONE: List = List(0);
    const NODE: u32 = 1 << 31;

    /// Whether any of `lists` is to be resolved first.
    #[inline]
    pub(super) fn any_node(lists: &[List]) -> bool {
        lists.iter().fold(0, |bits, list| bits | list.0) & Self::NODE != 0
    }

    #[inline]
    const fn place(self) -> usize {
        (self.0 >> 8) as usize
    }

    #[inline]
    const fn many(self) -> usize {
        (self.0 & 0xff) as usize
    }

    #[inline]
    const fn is_node(self) -> bool {
        self.0 & Self::NODE != 0
    }
}

/// A list of more than a few entries.
#[derive(Clone, Copy)]
enum Node {
    /// Entries, from `start`.
    Long { start: u32, many: u32 },
    /// By the number in `lane`: bounds from `start`, of which the first is 0, and as many lists.
    Split { lane: u8, start: u32, many: u32 },
}

#[inline]
fn first_of(entries: &[Entry], lanes: &Lanes) -> u32 {
    for entry in entries {
        let rule = entry.matching(lanes);
        if rule != NOBODY {
            return rule;
        }
    }
    NOBODY
}

/// All lists of an ACL.
pub(super) struct Lists {
    entries: Vec<Entry>,
    nodes: Vec<Node>,
    bounds: Vec<u16>,
    parts: Vec<List>,
}

impl Default for Lists {
    fn default() -> Lists {
        // The list without a rule is compared, too, and so is what follows it: both are no rule's.
        let nobody = Entry::new(&[(0, 0); LANES], NOBODY);
        Lists { entries: vec![nobody; EAGER], nodes: Vec::new(), bounds: Vec::new(), parts: Vec::new() }
    }
}

impl Lists {
    /// A list of rules, in order, at most 2^23 in all.
    pub(super) fn push(&mut self, rules: &[(u32, [(u16, u16); LANES])]) -> List {
        if rules.is_empty() {
            return List::NONE;
        }
        // Behind the last list stand entries that can be compared.
        let nobody = self.entries[0];
        self.entries.truncate(self.entries.len() - (EAGER - 1));
        let (start, many) = (self.entries.len() as u32, rules.len() as u32);
        self.entries.extend(rules.iter().map(|(rule, ranges)| Entry::new(ranges, *rule)));
        self.entries.extend([nobody; EAGER - 1]);
        if rules.len() <= SHORT { List(start << 8 | many) } else { self.node(Node::Long { start, many }) }
    }

    /// A list that goes on by the number in `lane`: in `parts` after the last of `bounds` that is not above it.
    pub(super) fn push_split(&mut self, lane: usize, bounds: &[u16], parts: &[List]) -> List {
        let start = self.parts.len() as u32;
        self.parts.extend(parts);
        self.bounds.extend(bounds);
        self.node(Node::Split { lane: lane as u8, start, many: parts.len() as u32 })
    }

    fn node(&mut self, node: Node) -> List {
        self.nodes.push(node);
        List(List::NODE | (self.nodes.len() as u32 - 1))
    }

    /// The part of `list` in which rules that match can be: not split further.
    #[inline]
    pub(super) fn resolve(&self, mut list: List, lanes: &Lanes) -> List {
        while list.is_node()
            && let Node::Split { lane, start, many } = self.nodes[(list.0 & !List::NODE) as usize]
        {
            let start = start as usize;
            let number = lanes.get(usize::from(lane) % LANES);
            let bounds = &self.bounds[start..start + many as usize];
            // The first bound is 0.
            list = self.parts[start + bounds.partition_point(|&bound| bound <= number) - 1];
        }
        list
    }

    /// Reads what [`Lists::first_match`] will begin with. Done for a whole burst first, the misses overlap.
    #[inline]
    pub(super) fn touch(&self, list: List) {
        black_box(self.entries.get(list.place()).map_or(0, |entry| entry.least[0]));
    }

    /// The first rule of `list`, which has been resolved, that matches, or [`NOBODY`]. Most lists are so short that
    /// comparing an entry too many costs less than a branch that cannot be foreseen.
    #[inline]
    pub(super) fn first_match(&self, list: List, lanes: &Lanes) -> u32 {
        if list.is_node() {
            return self.in_long(list, lanes);
        }
        let many = list.many();
        let Some((eager, rest)) = self.entries[list.place()..].split_first_chunk::<EAGER>() else {
            return NOBODY;
        };
        let (first, second) = (eager[0].matching(lanes), eager[1].matching(lanes));
        let best = first.min(if many > 1 { second } else { NOBODY });
        if many <= EAGER || best != NOBODY {
            return best;
        }
        first_of(&rest[..many - EAGER], lanes)
    }

    #[cold]
    fn in_long(&self, list: List, lanes: &Lanes) -> u32 {
        match self.nodes[(list.0 & !List::NODE) as usize] {
            Node::Long { start, many } => first_of(&self.entries[start as usize..][..many as usize], lanes),
            Node::Split { .. } => NOBODY,
        }
    }

    /// Memory, bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.entries)
            + size_of_val(&*self.nodes)
            + size_of_val(&*self.bounds)
            + size_of_val(&*self.parts)
    }
}
