//! The last values of a stream in order of size.

/// A window of the newest values, sorted.
#[derive(Clone, Debug)]
pub struct SortedWindow {
    sorted: Vec<f64>,
    ring: Vec<f64>,
    capacity: usize,
    pushed: usize,
}

impl SortedWindow {
    pub fn new(capacity: usize) -> SortedWindow {
        SortedWindow {
            sorted: Vec::with_capacity(capacity),
            ring: Vec::with_capacity(capacity),
            capacity,
            pushed: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Takes in a number, which must not be NaN; the oldest leaves a full window.
    pub fn push(&mut self, value: f64) {
        let slot = self.pushed % self.capacity;
        self.pushed += 1;
        if self.ring.len() < self.capacity {
            self.ring.push(value);
            let at = self.below(value);
            self.sorted.insert(at, value);
            return;
        }
        let leaving = self.below(self.ring[slot]);
        self.ring[slot] = value;
        let entering = self.below(value);
        // One move of what lies between the two places.
        if entering > leaving {
            self.sorted[leaving..entering].rotate_left(1);
            self.sorted[entering - 1] = value;
        } else {
            self.sorted[entering..=leaving].rotate_right(1);
            self.sorted[entering] = value;
        }
    }

    /// How many values are smaller.
    pub fn below(&self, value: f64) -> usize {
        self.sorted.partition_point(|other| *other < value)
    }

    /// The value at a share of the order, 0..1; `None` if there is none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let at = (share * self.sorted.len() as f64) as usize;
        self.sorted.get(at.min(self.sorted.len().saturating_sub(1))).copied()
    }

    /// The distance of a value to its k-th nearest here; infinite if there are fewer.
    pub fn distance(&self, value: f64, k: usize) -> f64 {
        let mut right = self.below(value);
        let mut left = right;
        let mut distance = f64::INFINITY;
        for _ in 0..k {
            let to_left = left.checked_sub(1).map_or(f64::INFINITY, |at| value - self.sorted[at]);
            let to_right = self.sorted.get(right).map_or(f64::INFINITY, |other| other - value);
            distance = to_left.min(to_right);
            if distance.is_infinite() {
                break;
            }
            if to_left <= to_right { left -= 1 } else { right += 1 }
        }
        distance
    }
}
