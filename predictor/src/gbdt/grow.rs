//! One tree, grown leaf by leaf: always the split that saves most.

use super::bins::{Binned, MISSING};
use super::fit::Params;
use super::tree::Tree;

/// A histogram's bin: Σ gradient, Σ curvature, rows.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    gradient: f64,
    curvature: f64,
    rows: u32,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.gradient += other.gradient;
        self.curvature += other.curvature;
        self.rows += other.rows;
    }

    fn without(self, other: Self) -> Self {
        Self {
            gradient: self.gradient - other.gradient,
            curvature: (self.curvature - other.curvature).max(0.0),
            rows: self.rows - other.rows,
        }
    }
}

/// The best split of a leaf.
#[derive(Clone, Copy, Debug)]
struct Split {
    gain: f64,
    column: usize,
    /// Bins up to this one go left.
    bin: u8,
    missing_left: bool,
    left: Sum,
    right: Sum,
    /// Leaf values of both sides.
    values: [f64; 2],
}

/// A leaf that may still be split.
struct Leaf {
    node: usize,
    depth: usize,
    rows: std::ops::Range<usize>,
    sum: Sum,
    /// What its value may be, from the monotone splits above.
    bounds: [f64; 2],
    histogram: Vec<Sum>,
    split: Option<Split>,
}

/// A tree with what only training needs: bins to walk, and the rows of its leaves.
pub(super) struct RoundTree {
    pub(super) tree: Tree,
    bins: Vec<u8>,
    order: Vec<u32>,
    leaves: Vec<(usize, std::ops::Range<usize>)>,
}

impl RoundTree {
    /// The tree's value at a binned row.
    pub(super) fn predict(&self, binned: &Binned, row: usize) -> f32 {
        let tree = &self.tree;
        let mut node = 0;
        while tree.left[node] != 0 {
            let bin = binned.columns[usize::from(tree.feature[node])].bins[row];
            let left = if bin == MISSING { tree.missing_left[node] } else { bin <= self.bins[node] };
            node = usize::from(tree.left[node]) + usize::from(!left);
        }
        tree.value[node]
    }

    /// Sets every leaf's value from its rows.
    pub(super) fn renew_leaves(&mut self, value: impl Fn(&[u32]) -> f32) {
        for (node, rows) in &self.leaves {
            self.tree.value[*node] = value(&self.order[rows.clone()]);
        }
    }

    /// Shrinks the leaves and gives every inner node the mean of those below.
    pub(super) fn finish(&mut self, rate: f32) {
        let mut covers = vec![0.0f32; self.tree.len()];
        for (node, rows) in &self.leaves {
            covers[*node] = rows.len() as f32;
            self.tree.value[*node] *= rate;
        }
        for node in (0..self.tree.len()).rev() {
            let left = usize::from(self.tree.left[node]);
            if left != 0 {
                let (a, b) = (covers[left], covers[left + 1]);
                covers[node] = a + b;
                self.tree.value[node] =
                    (a * self.tree.value[left] + b * self.tree.value[left + 1]) / (a + b).max(1.0);
            }
        }
        self.order = Vec::new();
        self.leaves = Vec::new();
    }
}

/// Grows trees over one set of features, reusing its buffers.
pub(super) struct Grower<'a> {
    binned: &'a Binned,
    params: &'a Params,
    rising: Vec<bool>,
    pool: Vec<Vec<Sum>>,
    ordered: Vec<[f32; 2]>,
    scratch: Vec<u32>,
}

impl<'a> Grower<'a> {
    pub(super) fn new(binned: &'a Binned, params: &'a Params) -> Self {
        let mut rising = vec![false; binned.features()];
        params.rising.iter().for_each(|feature| rising[*feature] = true);
        Self { binned, params, rising, pool: Vec::new(), ordered: Vec::new(), scratch: Vec::new() }
    }

    /// A tree on these rows and columns; `None` when the root has no split worth making.
    pub(super) fn grow(
        &mut self,
        mut order: Vec<u32>,
        columns: Vec<usize>,
        gradients: &[[f32; 2]],
    ) -> Option<RoundTree> {
        let starts = self.starts(&columns);
        let mut tree = Tree::default();
        let mut bins = vec![0];
        let mut root = Leaf {
            node: tree.push_leaf(),
            depth: 0,
            rows: 0..order.len(),
            sum: Sum::default(),
            bounds: [f64::NEG_INFINITY, f64::INFINITY],
            histogram: self.histogram(&columns, &starts, &order, gradients),
            split: None,
        };
        root.sum = root.histogram[..starts[1]].iter().fold(Sum::default(), |mut all, sum| {
            all.add(*sum);
            all
        });
        root.split = self.best_split(&root, &columns, &starts);
        root.split?;
        let mut leaves = vec![root];
        while leaves.len() < self.params.leaves {
            // The first of equals, so that the order of leaves decides and nothing else.
            let best = leaves.iter().enumerate().filter_map(|(i, leaf)| Some((i, leaf.split?.gain)));
            let best = best.fold(None, |best: Option<(usize, f64)>, (i, gain)| match best {
                Some((_, most)) if most >= gain => best,
                _ => Some((i, gain)),
            });
            let Some((parent, _)) = best else { break };
            let parent = leaves.swap_remove(parent);
            let Some(split) = parent.split else { break };
            let nodes = self.write_split(&mut tree, &mut bins, parent.node, &split, &columns);
            let middle = self.partition(&mut order[parent.rows.clone()], &split, columns[split.column]);
            let middle = parent.rows.start + middle;
            let mut children = self.children(parent, &split, nodes, middle, columns[split.column]);
            self.fill_histograms(&mut children, &columns, &starts, &order, gradients);
            for mut child in children {
                child.split = self.best_split(&child, &columns, &starts);
                leaves.push(child);
            }
        }
        for leaf in &mut leaves {
            self.pool.push(std::mem::take(&mut leaf.histogram));
        }
        let leaves = leaves.into_iter().map(|leaf| (leaf.node, leaf.rows)).collect();
        Some(RoundTree { tree, bins, order, leaves })
    }

    /// Where every column's bins start in a histogram, and its length.
    fn starts(&self, columns: &[usize]) -> Vec<usize> {
        let mut starts = vec![0];
        let mut end = 0;
        for column in columns {
            end += self.binned.columns[*column].len();
            starts.push(end);
        }
        starts
    }

    fn write_split(
        &self,
        tree: &mut Tree,
        bins: &mut Vec<u8>,
        node: usize,
        split: &Split,
        columns: &[usize],
    ) -> [usize; 2] {
        let feature = columns[split.column];
        tree.feature[node] = feature as u16;
        // With missing values alone on the right, every number goes left.
        tree.threshold[node] =
            self.binned.columns[feature].edges.get(usize::from(split.bin) - 1).copied().unwrap_or(f32::MAX);
        tree.missing_left[node] = split.missing_left;
        tree.gain[node] = split.gain as f32;
        bins[node] = split.bin;
        let nodes = [tree.push_leaf(), tree.push_leaf()];
        tree.left[node] = nodes[0] as u16;
        for (child, value) in nodes.iter().zip(split.values) {
            tree.value[*child] = value as f32;
            bins.push(0);
        }
        nodes
    }

    /// Sorts a leaf's rows into left and right, each in its old order; returns how many go left.
    fn partition(&mut self, rows: &mut [u32], split: &Split, feature: usize) -> usize {
        let bins = &self.binned.columns[feature].bins;
        self.scratch.clear();
        let mut kept = 0;
        for i in 0..rows.len() {
            let row = rows[i];
            let bin = bins[row as usize];
            if if bin == MISSING { split.missing_left } else { bin <= split.bin } {
                rows[kept] = row;
                kept += 1;
            } else {
                self.scratch.push(row);
            }
        }
        rows[kept..].copy_from_slice(&self.scratch);
        kept
    }

    /// Two leaves in place of one; the larger (second in the array if the left is smaller) keeps the histogram.
    fn children(
        &mut self,
        parent: Leaf,
        split: &Split,
        nodes: [usize; 2],
        middle: usize,
        feature: usize,
    ) -> [Leaf; 2] {
        let mut bounds = [parent.bounds; 2];
        if self.rising[feature] {
            let between = (split.values[0] + split.values[1]) / 2.0;
            bounds[0][1] = between;
            bounds[1][0] = between;
        }
        let child = |side: usize, rows, sum| Leaf {
            node: nodes[side],
            depth: parent.depth + 1,
            rows,
            sum,
            bounds: bounds[side],
            histogram: Vec::new(),
            split: None,
        };
        let mut children =
            [child(0, parent.rows.start..middle, split.left), child(1, middle..parent.rows.end, split.right)];
        let larger = usize::from(children[0].rows.len() <= children[1].rows.len());
        children[larger].histogram = parent.histogram;
        children
    }

    /// Builds the smaller child's histogram and takes it from the parent's, which leaves the larger's.
    fn fill_histograms(
        &mut self,
        children: &mut [Leaf; 2],
        columns: &[usize],
        starts: &[usize],
        order: &[u32],
        gradients: &[[f32; 2]],
    ) {
        let [a, b] = children;
        let (small, large) = if a.histogram.is_empty() { (a, b) } else { (b, a) };
        small.histogram = self.histogram(columns, starts, &order[small.rows.clone()], gradients);
        for (rest, taken) in large.histogram.iter_mut().zip(&small.histogram) {
            *rest = rest.without(*taken);
        }
    }

    fn histogram(
        &mut self,
        columns: &[usize],
        starts: &[usize],
        rows: &[u32],
        gradients: &[[f32; 2]],
    ) -> Vec<Sum> {
        let mut histogram = self.pool.pop().unwrap_or_default();
        histogram.clear();
        histogram.resize(*starts.last().unwrap_or(&0), Sum::default());
        self.ordered.clear();
        self.ordered.extend(rows.iter().map(|row| gradients[*row as usize]));
        for (column, start) in columns.iter().zip(starts) {
            let column = &self.binned.columns[*column];
            let sums = &mut histogram[*start..start + column.len()];
            for (row, [gradient, curvature]) in rows.iter().zip(&self.ordered) {
                let sum = &mut sums[usize::from(column.bins[*row as usize])];
                sum.gradient += f64::from(*gradient);
                sum.curvature += f64::from(*curvature);
                sum.rows += 1;
            }
        }
        histogram
    }

    fn best_split(&self, leaf: &Leaf, columns: &[usize], starts: &[usize]) -> Option<Split> {
        if leaf.depth >= self.params.depth || leaf.rows.len() < 2 * self.params.min_child_rows as usize {
            return None;
        }
        let mut best: Option<Split> = None;
        for (column, feature) in columns.iter().enumerate() {
            let sums = &leaf.histogram[starts[column]..starts[column + 1]];
            for missing_left in [false, true] {
                if missing_left && sums[usize::from(MISSING)].rows == 0 {
                    break;
                }
                self.scan(leaf, sums, missing_left, (column, self.rising[*feature]), &mut best);
            }
        }
        best
    }

    /// All splits of one column, missing values on one side.
    fn scan(
        &self,
        leaf: &Leaf,
        sums: &[Sum],
        missing_left: bool,
        (column, rising): (usize, bool),
        best: &mut Option<Split>,
    ) {
        let p = self.params;
        let missing = sums[usize::from(MISSING)];
        let mut left = if missing_left { missing } else { Sum::default() };
        // The last bin is a split only against missing values.
        let last = if missing.rows > 0 && !missing_left { sums.len() } else { sums.len() - 1 };
        let parent_value = self.value(leaf.sum, leaf.bounds);
        let parent_score = self.score(leaf.sum, parent_value);
        for (bin, sum) in sums.iter().enumerate().take(last).skip(1) {
            if sum.rows == 0 {
                continue;
            }
            left.add(*sum);
            let right = leaf.sum.without(left);
            if right.rows < p.min_child_rows || right.curvature < f64::from(p.min_child_weight) {
                break;
            }
            if left.rows < p.min_child_rows || left.curvature < f64::from(p.min_child_weight) {
                continue;
            }
            let values = [self.value(left, leaf.bounds), self.value(right, leaf.bounds)];
            if rising && values[0] > values[1] {
                continue;
            }
            let gain = self.score(left, values[0]) + self.score(right, values[1]) - parent_score;
            if gain > f64::from(p.min_gain).max(1e-9) && best.is_none_or(|best| gain > best.gain) {
                *best = Some(Split { gain, column, bin: bin as u8, missing_left, left, right, values });
            }
        }
    }

    /// The value of a leaf that lowers the loss most, within its bounds.
    fn value(&self, sum: Sum, bounds: [f64; 2]) -> f64 {
        let free = -sum.gradient / (sum.curvature + f64::from(self.params.l2)).max(1e-12);
        free.max(bounds[0]).min(bounds[1])
    }

    /// How much a leaf of this value lowers the loss, to second order.
    fn score(&self, sum: Sum, value: f64) -> f64 {
        -(sum.gradient * value + 0.5 * (sum.curvature + f64::from(self.params.l2)) * value * value)
    }
}
