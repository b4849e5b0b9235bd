//! Rules → [`Acl`].

use super::classes::{Classes, Prefix};
use super::list::{LANES, List, Lists};
use super::rule::{ALL, ALL_KINDS, Action, Addresses, Ranges, Rule};
use super::{Acl, Family};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Most rules: classes are 16-bit numbers.
const MAX_RULES: usize = 65_535;
/// A rule that holds at most this many pairs of classes is listed in the cell of each.
const MAX_CELLS: usize = 64;
/// A rule that holds at most this many classes of one dimension is listed with each of them.
const MAX_CLASSES: usize = 256;
/// A list of at most this many rules is not split.
const UNSPLIT: usize = 12;
/// Most parts of a split.
const MAX_PARTS: usize = 64;
/// Splits on the way through a list.
const MAX_DEPTH: usize = 4;
/// Places that all lists together may take, per rule and in addition.
const MAX_PLACES: (usize, usize) = (32, 1 << 20);

/// Why rules cannot be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AclError {
    /// Too many.
    #[error("{0} rules; at most {MAX_RULES}")]
    TooMany(usize),
    /// They overlap so much that their lists would take more memory than an ACL may have.
    #[error("the rules overlap too much: their lists would hold more than {0} entries")]
    TooComplex(usize),
}

/// Lists by pair of classes: a hash table with linear probing, at most half full.
pub(super) struct Cells {
    entries: Box<[Cell]>,
    shift: u32,
}

#[derive(Clone, Copy)]
struct Cell {
    pair: u32,
    list: List,
}

impl Cells {
    fn new(cells: &FxHashMap<u32, List>) -> Cells {
        let size = (cells.len() * 2).next_power_of_two().max(2);
        let mut made = Cells {
            entries: vec![Cell { pair: 0, list: List::NONE }; size].into(),
            shift: 32 - size.trailing_zeros(),
        };
        for (&pair, &list) in cells {
            let mut at = made.at(pair);
            while made.entries[at].list != List::NONE {
                at = (at + 1) & (size - 1);
            }
            made.entries[at] = Cell { pair, list };
        }
        made
    }

    #[inline]
    fn at(&self, pair: u32) -> usize {
        // The classes of near addresses are near: the upper bits of an odd product spread them.
        (pair.wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }

    /// The list of a pair of classes.
    #[inline]
    pub(super) fn get(&self, src: u16, dst: u16) -> List {
        let pair = pair(src, dst);
        let mut at = self.at(pair);
        // Half of the entries are free: this ends.
        loop {
            let cell = self.entries[at & (self.entries.len() - 1)];
            if cell.pair == pair || cell.list == List::NONE {
                return cell.list;
            }
            at += 1;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.entries)
    }
}

#[inline]
const fn pair(src: u16, dst: u16) -> u32 {
    (src as u32) << 16 | dst as u32
}

/// The prefixes of one dimension, sorted; a class is a place among them.
struct Prefixes(Vec<Prefix>);

impl Prefixes {
    fn new(prefixes: impl Iterator<Item = Prefix>) -> Prefixes {
        Prefixes(std::iter::once((0, 0)).chain(prefixes).collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// The classes inside `prefix`, which is one of these.
    fn inside(&self, prefix: Prefix) -> (u16, u16) {
        let (bits, length) = prefix;
        let last = bits | u128::MAX.checked_shr(length.into()).unwrap_or(0);
        let first = self.0.partition_point(|&other| other < prefix);
        let end = self.0.partition_point(|&(other, _)| other <= last);
        (first as u16, (end - 1) as u16)
    }
}

pub(super) fn compile(rules: &[Rule], default: Action) -> Result<Acl, AclError> {
    if rules.len() > MAX_RULES {
        return Err(AclError::TooMany(rules.len()));
    }
    let mut builder = Builder::default();
    let budget = rules.len() * MAX_PLACES.0 + MAX_PLACES.1;
    let any = ((0, 0), (0, 0));
    let v4 = builder.family(budget, rules, |rule| match rule.addresses {
        Addresses::Any => Some(any),
        Addresses::V4 { src, dst } => Some((
            (u128::from(src.network().to_bits()) << 96, src.prefix_len()),
            (u128::from(dst.network().to_bits()) << 96, dst.prefix_len()),
        )),
        Addresses::V6 { .. } => None,
    })?;
    let v6 = builder.family(budget, rules, |rule| match rule.addresses {
        Addresses::Any => Some(any),
        Addresses::V6 { src, dst } => {
            Some(((src.network().to_bits(), src.prefix_len()), (dst.network().to_bits(), dst.prefix_len())))
        }
        Addresses::V4 { .. } => None,
    })?;
    let actions = rules.iter().map(|rule| rule.action).collect();
    Ok(Acl { v4, v6, lists: builder.lists, actions, default, generation: 1 })
}

/// A part of what packets can be: a range of each lane.
type Region = Ranges;

#[derive(Default)]
struct Builder {
    lists: Lists,
    /// Lists already made. One that is split holds only within its region.
    made: FxHashMap<(Vec<u32>, Option<Region>), List>,
    places: usize,
}

impl Builder {
    fn family(
        &mut self,
        budget: usize,
        rules: &[Rule],
        prefixes: impl Fn(&Rule) -> Option<(Prefix, Prefix)>,
    ) -> Result<Family, AclError> {
        // The classes of another family mean other prefixes.
        self.made.clear();
        let used: Vec<(u32, &Rule, (Prefix, Prefix))> = (0..)
            .zip(rules)
            .filter_map(|(id, rule)| prefixes(rule).map(|prefixes| (id, rule, prefixes)))
            .collect();
        let src = Prefixes::new(used.iter().map(|(_, _, (src, _))| *src));
        let dst = Prefixes::new(used.iter().map(|(_, _, (_, dst))| *dst));
        let mut cells: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
        let mut by_src = vec![Vec::new(); src.0.len()];
        let mut by_dst = vec![Vec::new(); dst.0.len()];
        let mut wide = Vec::new();
        let mut ranges = FxHashMap::default();
        for (id, rule, (src_prefix, dst_prefix)) in used {
            let (src, dst) = (src.inside(src_prefix), dst.inside(dst_prefix));
            ranges.insert(id, rule.ranges(src, dst));
            let [srcs, dsts] = [src, dst].map(|(first, last)| usize::from(last - first) + 1);
            if srcs * dsts <= MAX_CELLS {
                let pairs = (src.0..=src.1).flat_map(|src| (dst.0..=dst.1).map(move |dst| pair(src, dst)));
                pairs.for_each(|pair| cells.entry(pair).or_default().push(id));
            } else if srcs.min(dsts) > MAX_CLASSES {
                wide.push(id);
            } else if srcs <= dsts {
                (src.0..=src.1).for_each(|src| by_src[usize::from(src)].push(id));
            } else {
                (dst.0..=dst.1).for_each(|dst| by_dst[usize::from(dst)].push(id));
            }
        }
        let mut list = |ids: Vec<u32>, src, dst| {
            let region = [src, dst, ALL, ALL, ALL, ALL_KINDS];
            self.list(&ids, &region, &ranges, budget, 0)
        };
        let one = |class: usize| (class as u16, class as u16);
        let [every_src, every_dst] = [&src, &dst].map(|prefixes| (0, (prefixes.0.len() - 1) as u16));
        let cells = cells
            .into_iter()
            .map(|(pair, ids)| Ok((pair, list(ids, one(pair as usize >> 16), one(pair as usize & 0xffff))?)))
            .collect::<Result<FxHashMap<_, _>, _>>()?;
        let by_src = by_src.into_iter().enumerate().map(|(class, ids)| list(ids, one(class), every_dst));
        let by_src = by_src.collect::<Result<_, _>>()?;
        let by_dst = by_dst.into_iter().enumerate().map(|(class, ids)| list(ids, every_src, one(class)));
        let by_dst = by_dst.collect::<Result<_, _>>()?;
        let wide = list(wide, every_src, every_dst)?;
        let (src, dst) = (Classes::new(&src.0), Classes::new(&dst.0));
        Ok(Family { src, dst, cells: Cells::new(&cells), by_src, by_dst, wide })
    }

    /// The list of those of `ids`, in order, that can be the first to match in `region`.
    fn list(
        &mut self,
        ids: &[u32],
        region: &Region,
        ranges: &FxHashMap<u32, Ranges>,
        budget: usize,
        depth: usize,
    ) -> Result<List, AclError> {
        let mut reachable = Vec::new();
        for &id in ids {
            let touches =
                ranges[&id].iter().zip(region).all(|(rule, part)| rule.0 <= part.1 && part.0 <= rule.1);
            let covers =
                ranges[&id].iter().zip(region).all(|(rule, part)| rule.0 <= part.0 && part.1 <= rule.1);
            reachable.extend(touches.then_some(id));
            if covers {
                break; // nothing comes after it here
            }
        }
        if reachable.is_empty() {
            return Ok(List::NONE);
        }
        let split = if reachable.len() > UNSPLIT && depth < MAX_DEPTH {
            best_split(&reachable, region, ranges)
        } else {
            None
        };
        let key = (reachable, split.is_some().then_some(*region));
        if let Some(&made) = self.made.get(&key) {
            return Ok(made);
        }
        let made = match split {
            Some((lane, bounds)) => {
                let mut parts = Vec::with_capacity(bounds.len());
                for part in parts_of(&bounds) {
                    let mut region = *region;
                    region[lane] = (region[lane].0.max(*part.start()), region[lane].1.min(*part.end()));
                    parts.push(self.list(&key.0, &region, ranges, budget, depth + 1)?);
                }
                self.lists.push_split(lane, &bounds, &parts)
            }
            None => {
                self.places += key.0.len();
                if self.places > budget {
                    return Err(AclError::TooComplex(budget));
                }
                let rules: Vec<_> = key.0.iter().map(|id| (*id, ranges[id])).collect();
                self.lists.push(&rules)
            }
        };
        self.made.insert(key, made);
        Ok(made)
    }
}

fn parts_of(bounds: &[u16]) -> impl Iterator<Item = RangeInclusive<u16>> {
    let ends = bounds.iter().skip(1).map(|next| next - 1).chain([u16::MAX]);
    bounds.iter().zip(ends).map(|(&first, last)| first..=last)
}

/// The lane, and the bounds in it, that leave the fewest rules to a packet; `None` if none leaves fewer than three
/// quarters of them.
fn best_split(ids: &[u32], region: &Region, ranges: &FxHashMap<u32, Ranges>) -> Option<(usize, Vec<u16>)> {
    let mut best = (3 * ids.len() / 4, None);
    for lane in 0..LANES {
        let (low, high) = region[lane];
        // Where a rule begins, or ended just before.
        let mut edges = BTreeSet::new();
        for id in ids {
            let (first, last) = ranges[id][lane];
            edges.extend((first > low && first <= high).then_some(first));
            edges.extend(last.checked_add(1).filter(|&end| end > low && end <= high));
        }
        if edges.is_empty() {
            continue;
        }
        let edges: Vec<u16> = edges.into_iter().collect();
        let step = edges.len().div_ceil(MAX_PARTS - 1);
        let bounds: Vec<u16> = std::iter::once(0).chain(edges.into_iter().step_by(step)).collect();
        // Traffic goes where the rules are: the cost of a part weighs as much as it holds.
        let counts: Vec<usize> = parts_of(&bounds)
            .map(|part| {
                let touches =
                    |id: &&u32| ranges[*id][lane].0 <= *part.end() && *part.start() <= ranges[*id][lane].1;
                ids.iter().filter(touches).count()
            })
            .collect();
        let places: usize = counts.iter().sum();
        let cost = counts.iter().map(|count| count * count).sum::<usize>() / places.max(1);
        if cost < best.0 {
            best = (cost, Some((lane, bounds)));
        }
    }
    best.1
}
