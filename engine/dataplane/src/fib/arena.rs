//! Which lines of a trie are in use: blocks of 1 to 17 lines, reused only when no worker can read what they were.

use std::collections::VecDeque;

/// Lines of the largest block.
pub(super) const BLOCK_MAX: usize = 17;
/// Most lines that one change of a route allocates: the branch that it changes, and where a bundle is full, a chain
/// of branches of two lines each below it (13 levels are below 24 bits of an IPv6 address) with its five routes.
const CHANGE_MAX: usize = BLOCK_MAX + 2 * 13 + 5;

/// Too few free lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// Even when workers let go of what was replaced.
    Full,
    /// Until then.
    Stalled,
}

/// The lines of one trie.
#[derive(Debug)]
pub(super) struct Arena {
    capacity: usize,
    /// Lines from here on were never used.
    unused: usize,
    /// By size in lines, beginnings of free blocks.
    free: [Vec<u32>; BLOCK_MAX + 1],
    free_lines: usize,
    /// Replaced in this epoch: (epoch, beginning, size), oldest first.
    retired: VecDeque<(u64, u32, u8)>,
    retired_lines: usize,
    /// Lines freed since blocks were last joined.
    unjoined: usize,
}

impl Arena {
    /// `capacity` lines, all free.
    pub fn new(capacity: usize) -> Arena {
        Arena {
            capacity,
            unused: 0,
            free: Default::default(),
            free_lines: 0,
            retired: VecDeque::new(),
            retired_lines: 0,
            unjoined: 0,
        }
    }

    /// Lines in all.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Lines of blocks that are linked.
    pub fn in_use(&self) -> usize {
        self.unused - self.free_lines - self.retired_lines
    }

    /// Lines of blocks that workers may still read.
    pub fn retired(&self) -> usize {
        self.retired_lines
    }

    /// Whether any one change of a route will find its lines. A new route leaves some for the removal of others.
    pub fn ensure(&mut self, new_route: bool) -> Result<(), NoRoom> {
        let kept = if new_route { (self.capacity / 64).max(2 * CHANGE_MAX) } else { 0 };
        if self.has(CHANGE_MAX + kept) {
            return Ok(());
        }
        // Joining sorts all free blocks: rarely while others are still to come, always before giving up.
        let worth_it = if self.retired_lines > 0 { self.capacity / 64 } else { 0 };
        if self.unjoined > worth_it {
            self.join();
            if self.has(CHANGE_MAX + kept) {
                return Ok(());
            }
        }
        Err(if self.retired_lines > 0 { NoRoom::Stalled } else { NoRoom::Full })
    }

    /// Whether `lines` lines are free in blocks that any size can be cut from.
    fn has(&self, lines: usize) -> bool {
        self.capacity - self.unused >= lines || self.free[BLOCK_MAX].len() > lines.div_ceil(BLOCK_MAX)
    }

    /// A block of `size` lines; after [`Arena::ensure`] there is one.
    pub fn allocate(&mut self, size: usize) -> u32 {
        if let Some(line) = self.free[size].pop() {
            self.free_lines -= size;
            return line;
        }
        if self.capacity - self.unused >= size {
            self.unused += size;
            return (self.unused - size) as u32;
        }
        let larger = (size + 1..=BLOCK_MAX).find(|&larger| !self.free[larger].is_empty());
        let larger = larger.expect("ensured before the change");
        let line = self.free[larger].pop().expect("found above");
        self.free[larger - size].push(line + size as u32);
        self.free_lines -= size;
        line
    }

    /// The block is linked no more, from `epoch` on.
    pub fn retire(&mut self, epoch: u64, line: u32, size: usize) {
        self.retired.push_back((epoch, line, size as u8));
        self.retired_lines += size;
    }

    /// All workers read what is linked at the beginning of epoch `seen`.
    pub fn reclaim(&mut self, seen: u64) {
        while let Some(&(epoch, line, size)) = self.retired.front()
            && epoch < seen
        {
            self.retired.pop_front();
            self.retired_lines -= usize::from(size);
            self.free_lines += usize::from(size);
            self.unjoined += usize::from(size);
            self.free[usize::from(size)].push(line);
        }
    }

    /// Joins free blocks that lie side by side.
    fn join(&mut self) {
        let mut blocks: Vec<(usize, usize)> = (self.free.iter_mut().enumerate())
            .flat_map(|(size, lines)| lines.drain(..).map(move |line| (line as usize, size)))
            .collect();
        blocks.sort_unstable();
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for (line, size) in blocks {
            match runs.last_mut() {
                Some((first, lines)) if *first + *lines == line => *lines += size,
                _ => runs.push((line, size)),
            }
        }
        if let Some(&(first, lines)) = runs.last()
            && first + lines == self.unused
        {
            runs.pop();
            self.unused = first;
            self.free_lines -= lines;
        }
        for (mut line, mut lines) in runs {
            while lines > 0 {
                let size = lines.min(BLOCK_MAX);
                self.free[size].push(line as u32);
                (line, lines) = (line + size, lines - size);
            }
        }
        self.unjoined = 0;
    }
}
