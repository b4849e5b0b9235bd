//! Access control: ordered rules over addresses, protocol, ports, TCP state and input; the first that matches
//! decides.
//!
//! Control compiles [`Rule`]s into an [`Acl`], immutable, and publishes it in the snapshot. How it decides:
//!
//! 1. A compressed trie per dimension maps source and destination address to a *class*: the longest prefix among
//!    the rules' prefixes. Classes are numbered so that those below a prefix follow it: to a rule an
//!    address is, like a port, a range of 16-bit numbers.
//! 2. A rule whose prefixes hold few pairs of classes is listed in the cell of each pair (cross-producting, kept
//!    sparse); one that is narrow in one dimension in the list of each class there; the few others in one list.
//!    A packet has to look at one cell and three lists at most.
//! 3. Of a list, each rule is 32 bytes and one comparison of all its ranges at once; a long list is first split by
//!    the range that divides it best. Lists are in rule order, so the first match ends one.
//!
//! A rule that looks at ports, ICMP types or TCP flags matches only packets that show them: later fragments
//! fall to the rules that do not.

mod classes;
mod compile;
mod list;
mod rule;
pub mod synthetic;

#[cfg(test)]
mod tests;

pub use compile::AclError;
pub use rule::{Action, Addresses, PortRange, Rule, Segments, UpperMatch};

use crate::flow::{AnyTuple, Flow, Upper, tcp};
use crate::packet::BURST;
use arrayvec::ArrayVec;
use classes::{Classes, STEPS4};
use compile::Cells;
use list::{Lanes, List, Lists, NOBODY};

/// The rule that decided, by its place in the list of rules; `None` where none matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is to be done.
    pub action: Action,
    /// Which rule says so.
    pub rule: Option<u32>,
}

/// A packet as rules see it: its flow, and where it came in.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Addresses, ports, and what else it shows.
    pub flow: Flow,
    /// The number that rules call this input by.
    pub input: u16,
}

impl AsRef<AnyTuple> for Subject {
    #[inline]
    fn as_ref(&self) -> &AnyTuple {
        &self.flow.tuple
    }
}

/// Rules of one family of addresses.
struct Family {
    src: Classes,
    dst: Classes,
    cells: Cells,
    by_src: Box<[List]>,
    by_dst: Box<[List]>,
    wide: List,
}

/// See the module.
pub struct Acl {
    v4: Family,
    v6: Family,
    lists: Lists,
    actions: Box<[Action]>,
    default: Action,
    generation: u32,
}

impl std::fmt::Debug for Acl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acl").field("rules", &self.len()).field("generation", &self.generation).finish()
    }
}

/// Lists that one packet looks at.
type Looked = [List; 4];

impl Acl {
    /// The structure for `rules`, first match first; `default` where none matches.
    pub fn compile(rules: &[Rule], default: Action) -> Result<Acl, AclError> {
        compile::compile(rules, default)
    }

    /// The same rules under this number, not 0. Sessions that began under another one are asked about again.
    #[must_use]
    pub fn numbered(self, generation: u32) -> Acl {
        Acl { generation, ..self }
    }

    /// Which of a row of access lists this is.
    #[inline]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.actions.len()
    }

    /// True without rules.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Memory, bytes.
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes() + self.lists.bytes() + size_of_val(&*self.actions)
    }

    /// What the rules say of one packet.
    #[inline]
    pub fn classify(&self, subject: &Subject) -> Verdict {
        let mut verdicts = ArrayVec::new();
        self.classify_burst(std::slice::from_ref(subject), &mut verdicts);
        verdicts[0]
    }

    /// What the rules say of a burst, in order. Each step is done for all packets before the next: the misses
    /// overlap.
    #[inline]
    pub fn classify_burst(&self, subjects: &[Subject], verdicts: &mut ArrayVec<Verdict, BURST>) {
        verdicts.clear();
        for subjects in subjects.chunks(BURST) {
            let classes = self.classes(subjects);
            let mut looked = [[List::NONE; 4]; BURST];
            let mut lanes = [Lanes::default(); BURST];
            for (at, (subject, &[src, dst])) in subjects.iter().zip(&classes).enumerate() {
                let family = self.family(subject);
                let [src_port, dst_port, kind] = upper_lanes(&subject.flow);
                lanes[at] = Lanes::new([src as u16, dst as u16, src_port, dst_port, subject.input, kind]);
                let by = [family.by_src[src as usize], family.by_dst[dst as usize], family.wide];
                looked[at] = [family.cells.get(src as u16, dst as u16), by[0], by[1], by[2]];
            }
            for (looked, lanes) in looked.iter_mut().zip(&lanes).take(subjects.len()) {
                if List::any_node(looked) {
                    looked.iter_mut().for_each(|list| *list = self.lists.resolve(*list, lanes));
                }
                looked.iter().for_each(|list| self.lists.touch(*list));
            }
            for (looked, lanes) in looked.iter().zip(&lanes).take(subjects.len()) {
                let _ = verdicts.try_push(self.decide(lanes, looked));
            }
        }
    }

    #[inline]
    fn family(&self, subject: &Subject) -> &Family {
        match subject.flow.tuple {
            AnyTuple::V4(_) => &self.v4,
            AnyTuple::V6(_) => &self.v6,
        }
    }

    /// The classes of source and destination of up to a burst.
    #[inline]
    fn classes(&self, subjects: &[Subject]) -> [[u32; 2]; BURST] {
        let mut entries = [[0; 2]; BURST];
        let mut bits = [[0; 2]; BURST];
        for ((entries, bits), subject) in entries.iter_mut().zip(&mut bits).zip(subjects) {
            *entries = match &subject.flow.tuple {
                AnyTuple::V4(tuple) => {
                    *bits = [tuple.src.to_bits(), tuple.dst.to_bits()];
                    [self.v4.src.begin4(bits[0]), self.v4.dst.begin4(bits[1])]
                }
                AnyTuple::V6(tuple) => {
                    let (src, dst) = (tuple.src.to_bits(), tuple.dst.to_bits());
                    [self.v6.src.of6(src).into(), self.v6.dst.of6(dst).into()]
                }
            };
        }
        for step in 0..STEPS4 {
            for (entries, bits) in entries.iter_mut().zip(&bits).take(subjects.len()) {
                *entries = [
                    self.v4.src.step4(entries[0], bits[0], step),
                    self.v4.dst.step4(entries[1], bits[1], step),
                ];
            }
        }
        entries
    }

    #[inline]
    fn decide(&self, lanes: &Lanes, looked: &Looked) -> Verdict {
        let mut best = NOBODY;
        for &list in looked {
            best = best.min(self.lists.first_match(list, lanes));
        }
        match self.actions.get(best as usize) {
            Some(&action) => Verdict { action, rule: Some(best) },
            None => Verdict { action: self.default, rule: None },
        }
    }
}

impl Family {
    fn bytes(&self) -> usize {
        let lists = size_of_val(&*self.by_src) + size_of_val(&*self.by_dst);
        self.src.bytes() + self.dst.bytes() + self.cells.bytes() + lists
    }
}

/// The lanes of the upper layer: ports, or ICMP type and code; and protocol with what the packet shows of it.
#[inline]
fn upper_lanes(flow: &Flow) -> [u16; 3] {
    let kind = u16::from(flow.tuple.protocol().0) << 2;
    let (src, dst) = flow.tuple.ports();
    match flow.upper {
        Upper::Hidden => [0, 0, kind],
        Upper::Tcp(flags) if flags & (tcp::ACK | tcp::RST) != 0 => [src, dst, kind | rule::ESTABLISHED],
        Upper::Tcp(flags) if flags & tcp::SYN != 0 => [src, dst, kind | rule::OPENING],
        Upper::Tcp(_) | Upper::Other => [src, dst, kind | rule::SHOWN],
        Upper::Query { kind: icmp, code }
        | Upper::Reply { kind: icmp, code }
        | Upper::Icmp { kind: icmp, code } => [u16::from(icmp), u16::from(code), kind | rule::SHOWN],
    }
}
