//! The features of all metrics as those of none: the largest and the second largest of each kind.
//!
//! A model that learns "mempool_used rises" knows one fault. One that learns "something harmful rises towards its limit
//! and nothing that the load explains" knows the next one too. So models see these, sorted, and not the metrics' names.

use crate::features::PER_METRIC;
use crate::sample::{Metric, Role, SPECS};

/// Kinds of feature that are pooled, by their place in a metric's block: all of them.
const KINDS: usize = PER_METRIC;
/// Pooled features: two of each kind, for metrics of harm and of strain; how many of each stand out; how near the two
/// limits of a service are, loss and latency.
pub(crate) const POOLED: usize = 2 * 2 * KINDS + 4;
/// A metric stands out from this z feature on (half the squashed z: z = 3).
const STANDS_OUT: f32 = 0.69;
const PATHS: [Metric; 2] = [Metric::PathRttUs, Metric::PathRttUsP95];
const LOSSES: [Metric; 3] = [Metric::PathLossTx, Metric::PathLossRx, Metric::DropPps];

/// Pools the metrics' `blocks` into `out`, as if the metrics of the bit mask `hidden` were as ever.
pub(crate) fn fill(blocks: &[f32], hidden: u32, out: &mut [f32]) {
    let shown = |i: usize| hidden & 1 << i == 0;
    for (group, role) in [Role::Harm, Role::Strain].into_iter().enumerate() {
        let (mut largest, mut out_of_line, mut members) = ([[0.0f32; 2]; KINDS], 0.0f32, 0.0f32);
        for (i, block) in blocks.chunks_exact(PER_METRIC).enumerate() {
            if SPECS[i].role != role {
                continue;
            }
            members += 1.0;
            if shown(i) {
                out_of_line += f32::from(u8::from(block[1] > STANDS_OUT));
                largest.iter_mut().zip(block).for_each(|(top, &value)| insert(top, value));
            }
        }
        let pairs = out[group * 2 * KINDS..].chunks_exact_mut(2).take(KINDS);
        pairs.zip(&largest).for_each(|(pair, top)| pair.copy_from_slice(top));
        out[4 * KINDS + group] = out_of_line / members;
    }
    let most = |metrics: &[Metric]| {
        let rise = |m: &Metric| if shown(m.index()) { blocks[m.index() * PER_METRIC] } else { 0.0 };
        metrics.iter().map(rise).fold(0.0, f32::max)
    };
    out[4 * KINDS + 2] = most(&LOSSES);
    out[4 * KINDS + 3] = most(&PATHS);
}

/// The two largest so far; below zero is no news.
fn insert(top: &mut [f32; 2], value: f32) {
    if value > top[0] {
        *top = [value, top[0]];
    } else if value > top[1] {
        top[1] = value;
    }
}
