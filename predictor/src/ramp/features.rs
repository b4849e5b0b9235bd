//! The features of a node at a minute, from its metrics' past and its peers', whatever the metrics are.
//!
//! Every metric is compared with the median over the nodes of its run at the same minute, that difference with
//! its own robust baseline, in units of how much it varies in calm. What the metrics say is then summed up
//! without their names: the largest few and the mean of every quantity, compared with the peers' again, and
//! what is known of the three metrics that lead. So a fault of a kind never seen, in a metric never seen to
//! move, looks like those that were.

use std::collections::VecDeque;

use super::cell::{Cell, Scale, Scales, Step};
use super::order::Order;
use crate::median::median;

/// What is known of a metric from the runs trained on.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prior {
    /// Mean absolute deviation of the difference from the peers.
    pub(super) peers: f32,
    /// Mean absolute deviation from the node's own past.
    pub(super) own: f32,
}

/// Quantities summed up over a node's metrics.
const QUANTITIES: [&str; 10] = [
    "deviation 5 min",
    "deviation 15 min",
    "deviation 60 min",
    "change 5 against 15 min",
    "change 15 against 60 min",
    "CUSUM",
    "steadiness",
    "own past 5 min",
    "own past, change",
    "records",
];
/// What counts as large, by quantity.
const LIMITS: [f32; 10] = [2.5, 2.0, 1.5, 1.0, 1.0, 10.0, 0.8, 3.0, 1.0, 0.5];
/// Which of the largest are features.
const TOPS: [usize; 4] = [0, 1, 3, 7];
/// Numbers a quantity gives: the largest, mean, share, and two differences from the peers of two of them.
const PER_QUANTITY: usize = TOPS.len() + 2 + 4;
/// The metrics that lead, and what is told of each.
const LEADERS: usize = 3;
const LEADER: [&str; 10] = [
    "deviation 5 min",
    "deviation 15 min",
    "deviation 60 min",
    "5 over 15 min",
    "own past 5 min",
    "CUSUM",
    "steadiness",
    "age",
    "records",
    "nodes further out",
];
/// How far back the node's overall deviation is looked up, minutes.
const BACK: [i64; 4] = [5, 15, 30, 60];
const NODE: [&str; 9] = [
    "overall deviation",
    "change over 5 min",
    "change over 15 min",
    "change over 30 min",
    "change over 60 min",
    "peers' median overall deviation",
    "largest overall deviation of a peer",
    "nodes that deviate more",
    "minutes seen",
];
/// Minutes seen say nothing more beyond this.
const SEEN_MAX: f32 = 90.0;

/// Number of the features that know no metric's name; they come first in a row.
pub(super) const N_FEATURES: usize = QUANTITIES.len() * PER_QUANTITY + LEADERS * LEADER.len() + NODE.len();
/// What is told of a metric by its name, behind those.
const NAMED: [&str; 5] =
    ["deviation 5 min", "deviation 60 min", "change 15 against 60 min", "own past 5 min", "CUSUM"];

/// What a stream makes features of.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    /// What is known of every metric of the telemetry.
    pub(super) priors: Vec<Option<Prior>>,
    /// The metrics told by name: where each stands in the telemetry, if it does.
    pub(super) named: Vec<Option<usize>>,
}

impl Layout {
    /// Numbers in a row.
    pub(super) fn width(&self) -> usize {
        N_FEATURES + self.named.len() * NAMED.len()
    }
}

/// Name of a feature, for people; `named` are the metrics told by name.
pub(super) fn name(feature: usize, named: &[String]) -> String {
    if let Some(told) = feature.checked_sub(N_FEATURES) {
        let metric = named.get(told / NAMED.len()).map_or("?", String::as_str);
        return format!("{metric}: {}", NAMED[told % NAMED.len()]);
    }
    let quantities = QUANTITIES.len() * PER_QUANTITY;
    if feature < quantities {
        let part = match feature % PER_QUANTITY {
            nth @ 0..=3 => format!("metric no. {}", TOPS[nth] + 1),
            4 => "mean of the metrics".into(),
            5 => "share of large metrics".into(),
            6 => "mean, above the peers' median".into(),
            7 => "mean, above the largest peer".into(),
            8 => "metric no. 2, above the peers' median".into(),
            _ => "metric no. 2, above the largest peer".into(),
        };
        return format!("{}: {part}", QUANTITIES[feature / PER_QUANTITY]);
    }
    let rest = feature - quantities;
    match NODE.get(rest.wrapping_sub(LEADERS * LEADER.len())) {
        Some(node) => (*node).into(),
        None => format!("leading metric {}: {}", rest / LEADER.len() + 1, LEADER[rest % LEADER.len()]),
    }
}

/// A metric over all nodes.
#[derive(Clone, Debug)]
struct Metric {
    peers: Scale,
    own: Scale,
    level: Scale,
    low: f32,
    high: f32,
}

impl Metric {
    fn new(prior: Option<Prior>) -> Self {
        let scale = |mean: fn(Prior) -> f32| Scale::with_prior(prior.map(mean));
        Self {
            peers: scale(|p| p.peers),
            own: scale(|p| p.own),
            level: Scale::default(),
            low: f32::INFINITY,
            high: f32::NEG_INFINITY,
        }
    }

    /// Scales above zero: a thousandth of the level where nothing ever varied.
    fn scales(&self) -> Scales {
        let floor = (1e-3 * self.level.mean()).max(1e-12);
        Scales {
            peers: self.peers.mean().max(floor),
            own: self.own.mean().max(floor),
            trust: self.peers.trust(),
        }
    }
}

/// A node's own history.
#[derive(Clone, Debug)]
struct Node {
    last: i64,
    minutes: f32,
    overall: VecDeque<(i64, f32)>,
}

/// The features of one run's nodes, minute by minute; memory is bounded by nodes × metrics.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    named: Vec<Option<usize>>,
    metrics: Vec<Metric>,
    cells: Vec<Cell>,
    nodes: Vec<Option<Node>>,
    started: i64,
    minute: Option<i64>,
    peers: Vec<f32>,
    orders: Vec<[Order; QUANTITIES.len()]>,
    medians: Vec<f32>,
}

impl Stream {
    /// A run of up to `nodes` nodes.
    pub(super) fn new(nodes: usize, layout: &Layout) -> Self {
        let priors = &layout.priors;
        Self {
            named: layout.named.clone(),
            metrics: priors.iter().map(|prior| Metric::new(*prior)).collect(),
            cells: vec![Cell::default(); nodes * priors.len()],
            nodes: vec![None; nodes],
            started: 0,
            minute: None,
            peers: Vec::new(),
            orders: Vec::new(),
            medians: Vec::new(),
        }
    }

    /// The nodes present at a minute later than the last, and their metrics (node by node); appends
    /// [`Layout::width`] numbers for each to `out`. Values that are not finite count as missing.
    pub(super) fn push(&mut self, minute: i64, nodes: &[usize], values: &[f32], out: &mut Vec<f32>) {
        if self.minute.is_none() {
            self.started = minute;
        }
        self.minute = Some(minute);
        let steps: Vec<Step> = nodes.iter().map(|node| self.enter(*node, minute)).collect();
        for metric in 0..self.metrics.len() {
            self.push_metric(metric, nodes, values, &steps, minute);
        }
        self.orders.clear();
        for node in nodes {
            let orders = self.sum_up(*node);
            self.orders.push(orders);
        }
        let first = out.len();
        let wide = N_FEATURES + self.named.len() * NAMED.len();
        out.resize(first + nodes.len() * wide, f32::NAN);
        for (at, node) in nodes.iter().enumerate() {
            let (row, named) = out[first + at * wide..first + (at + 1) * wide].split_at_mut(N_FEATURES);
            self.write_named(*node, named);
            self.write_quantities(at, row);
            self.write_leaders(*node, nodes, &mut row[QUANTITIES.len() * PER_QUANTITY..]);
            self.write_node(at, *node, &mut row[N_FEATURES - NODE.len()..]);
        }
    }

    /// The scales learnt, by metric: a prior for other runs. `None` where nothing was seen.
    pub(super) fn learnt(&self) -> Vec<Option<Prior>> {
        let prior = |metric: &Metric| Prior { peers: metric.peers.mean(), own: metric.own.mean() };
        self.metrics.iter().map(|metric| (metric.high >= metric.low).then(|| prior(metric))).collect()
    }

    /// A node's metrics furthest from the peers over 15 minutes, and how far, in scales.
    pub(super) fn leading(&self, node: usize) -> Vec<(usize, f32)> {
        let width = self.metrics.len();
        let cells = &self.cells[node * width..(node + 1) * width];
        let mut far: Vec<(usize, f32)> = cells.iter().map(|cell| cell.peers[1]).enumerate().collect();
        far.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        far.truncate(LEADERS);
        far
    }

    fn enter(&mut self, node: usize, minute: i64) -> Step {
        let node = self.nodes[node].get_or_insert_with(|| Node {
            last: minute - 1,
            minutes: 0.0,
            overall: VecDeque::with_capacity(64),
        });
        let step = Step::new(minute - node.last);
        node.last = minute;
        node.minutes = (node.minutes + 1.0).min(SEEN_MAX);
        step
    }

    fn push_metric(&mut self, metric: usize, nodes: &[usize], values: &[f32], steps: &[Step], minute: i64) {
        let width = self.metrics.len();
        // Clamped, so that no difference or sum of finite values overflows.
        let value = |at: usize| {
            Some(values[at * width + metric]).filter(|x| x.is_finite()).map(|x| x.clamp(-1e30, 1e30))
        };
        self.peers.clear();
        self.peers.extend((0..nodes.len()).filter_map(value));
        let present = self.peers.len();
        // A node alone has its own past only, which its baseline knows.
        let centre = if present > 1 { median(&mut self.peers) } else { 0.0 };
        let state = &mut self.metrics[metric];
        let scales = state.scales();
        let margin = 0.5 * scales.own;
        // Everything is a record at first.
        let warm = minute - self.started >= 30;
        let (low, high) = (state.low - margin, state.high + margin);
        let mut sums = [0.0f32; 3];
        for (at, node) in nodes.iter().enumerate() {
            let cell = &mut self.cells[node * width + metric];
            let Some(x) = value(at) else {
                cell.fade(steps[at]);
                continue;
            };
            let record = warm && (x > high || x < low);
            let deviation = cell.push(x, x - centre, scales, record, steps[at]);
            sums[0] += deviation.peers;
            sums[1] += deviation.own;
            sums[2] += x.abs();
            state.low = state.low.min(x);
            state.high = state.high.max(x);
        }
        if present > 0 {
            let mean = |sum: f32| sum / present as f32;
            state.peers.push(mean(sums[0]));
            state.own.push(mean(sums[1]));
            state.level.push(mean(sums[2]));
        }
    }

    fn write_named(&self, node: usize, row: &mut [f32]) {
        let width = self.metrics.len();
        for (metric, out) in self.named.iter().zip(row.chunks_exact_mut(NAMED.len())) {
            let Some(metric) = metric else { continue };
            let cell = &self.cells[node * width + metric];
            let [a, b, c] = cell.peers;
            out.copy_from_slice(&[a, c, b - c, cell.own[0], cell.cusum() * a.signum()]);
        }
    }

    fn sum_up(&self, node: usize) -> [Order; QUANTITIES.len()] {
        let width = self.metrics.len();
        let mut orders = [Order::new(); QUANTITIES.len()];
        for cell in &self.cells[node * width..(node + 1) * width] {
            let [a, b, c] = cell.peers;
            let steady = if b.abs() > 1.0 { (cell.trend * b.signum()).max(0.0) } else { 0.0 };
            let quantities = [
                a.abs(),
                b.abs(),
                c.abs(),
                (a - b).abs(),
                (b - c).abs(),
                cell.cusum(),
                steady,
                cell.own[0].abs(),
                (cell.own[1] - cell.own[2]).abs(),
                cell.records,
            ];
            for ((order, x), limit) in orders.iter_mut().zip(quantities).zip(LIMITS) {
                order.push(x, limit);
            }
        }
        orders
    }

    /// The median and the largest over the other nodes.
    fn others(&mut self, at: usize, number: impl Fn(&[Order; QUANTITIES.len()]) -> f32) -> [f32; 2] {
        self.medians.clear();
        let others = self.orders.iter().enumerate().filter(|(other, _)| *other != at);
        self.medians.extend(others.map(|(_, orders)| number(orders)).filter(|x| !x.is_nan()));
        let largest = self.medians.iter().copied().fold(f32::NAN, f32::max);
        [median(&mut self.medians), largest]
    }

    fn write_quantities(&mut self, at: usize, row: &mut [f32]) {
        for q in 0..QUANTITIES.len() {
            let order = self.orders[at][q];
            let out = &mut row[q * PER_QUANTITY..(q + 1) * PER_QUANTITY];
            for (out, nth) in out.iter_mut().zip(TOPS) {
                *out = order.top(nth);
            }
            let by_mean = self.others(at, |orders| orders[q].mean());
            let by_top = self.others(at, |orders| orders[q].top(1));
            out[4] = order.mean();
            out[5] = order.share();
            out[6] = order.mean() - by_mean[0];
            out[7] = order.mean() - by_mean[1];
            out[8] = order.top(1) - by_top[0];
            out[9] = order.top(1) - by_top[1];
        }
    }

    fn write_leaders(&self, node: usize, nodes: &[usize], row: &mut [f32]) {
        let width = self.metrics.len();
        let cells = &self.cells[node * width..(node + 1) * width];
        let mut leaders: [Option<usize>; LEADERS] = [None; LEADERS];
        let far = |metric: usize| cells[metric].peers[1].abs();
        for metric in 0..width {
            let place = leaders.iter().position(|held| held.is_none_or(|held| far(metric) > far(held)));
            if let Some(place) = place {
                leaders[place..].rotate_right(1);
                leaders[place] = Some(metric);
            }
        }
        for (metric, out) in leaders.iter().zip(row.chunks_exact_mut(LEADER.len())) {
            let Some(metric) = *metric else { continue };
            let cell = &cells[metric];
            let [a, b, c] = cell.peers;
            let further =
                nodes.iter().filter(|other| self.cells[**other * width + metric].peers[1].abs() > b.abs());
            let side = b.signum();
            let told = [
                a * side,
                b * side,
                c * side,
                (a / b.abs().max(0.5)) * side,
                cell.own[0] * side,
                cell.cusum(),
                cell.trend * side,
                cell.age,
                cell.records,
                further.count() as f32 / nodes.len().max(1) as f32,
            ];
            out.copy_from_slice(&told);
        }
    }

    fn write_node(&mut self, at: usize, node: usize, row: &mut [f32]) {
        let overall = |orders: &[Order; QUANTITIES.len()]| orders[0].mean();
        let now = overall(&self.orders[at]);
        let [middle, largest] = self.others(at, overall);
        let more = self.orders.iter().filter(|orders| overall(orders) > now).count();
        let present = self.orders.len().max(1) as f32;
        let Some(state) = &mut self.nodes[node] else { return };
        row[0] = now;
        for (out, back) in row[1..].iter_mut().zip(BACK) {
            let then = state.overall.iter().rev().find(|(minute, _)| *minute <= state.last - back);
            *out = then.map_or(f32::NAN, |(_, then)| now - then);
        }
        row[5] = middle;
        row[6] = largest;
        row[7] = more as f32 / present;
        row[8] = state.minutes;
        if state.overall.front().is_some_and(|(minute, _)| *minute < state.last - BACK[3]) {
            state.overall.pop_front();
        }
        state.overall.push_back((state.last, now));
    }
}

#[cfg(test)]
#[path = "features_tests.rs"]
mod tests;
