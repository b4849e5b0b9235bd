//! What a slot of the trie holds, in 32 bits, so that one atomic store changes it.

use crate::id::NextHopId;

/// What kind it is: a leaf where neither bit is set.
const KIND: u32 = 3 << 30;
const BUNDLE: u32 = 1 << 30;
const BRANCH: u32 = 2 << 30;
const TAIL: u32 = 3 << 30;
/// Marks a slot that no route of its level covers: what it leads to shows what the branch inherited.
const INHERITED: u32 = 1 << 29;
/// The next hop of a leaf, or the line where a block begins.
const VALUE: u32 = INHERITED - 1;

/// The greatest [`NextHopId`] that a leaf holds.
pub const MAX_NEXT_HOP: NextHopId = NextHopId(VALUE);

/// A leaf (zero: no route), or where a block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(pub u32);

/// The kinds of entry, with the next hop of a leaf and the first line of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Leaf(u32),
    Bundle(u32),
    Branch(u32),
    Tail(u32),
}

impl Entry {
    pub const NONE: Entry = Entry(0);

    pub fn leaf(value: u32) -> Entry {
        Entry(value)
    }

    pub fn bundle(line: u32) -> Entry {
        Entry(BUNDLE | line)
    }

    pub fn branch(line: u32) -> Entry {
        Entry(BRANCH | line)
    }

    pub fn tail(line: u32) -> Entry {
        Entry(TAIL | line)
    }

    #[inline(always)]
    pub fn is_block(self) -> bool {
        self.0 & KIND != 0
    }

    #[inline(always)]
    pub fn is_bundle(self) -> bool {
        self.0 & KIND == BUNDLE
    }

    #[inline(always)]
    pub fn is_branch(self) -> bool {
        self.0 & KIND == BRANCH
    }

    #[inline(always)]
    pub fn is_tail(self) -> bool {
        self.0 & KIND == TAIL
    }

    /// The next hop of a leaf, the first line of a block.
    #[inline(always)]
    pub fn value(self) -> u32 {
        self.0 & VALUE
    }

    #[inline(always)]
    pub fn kind(self) -> Kind {
        match self.0 & KIND {
            BUNDLE => Kind::Bundle(self.value()),
            BRANCH => Kind::Branch(self.value()),
            TAIL => Kind::Tail(self.value()),
            _ => Kind::Leaf(self.value()),
        }
    }

    pub fn is_inherited(self) -> bool {
        self.0 & INHERITED != 0
    }

    /// The same, inherited or not.
    pub fn inherited(self, inherited: bool) -> Entry {
        Entry(if inherited { self.0 | INHERITED } else { self.0 & !INHERITED })
    }
}
