//! A progress bar on standard error: redrawn on a terminal, a line now and then elsewhere.

use predictor::task::Progress;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Letters between the brackets.
const WIDTH: usize = 30;
/// Between two lines where the bar cannot be redrawn.
const PERIOD: Duration = Duration::from_secs(5);

/// What was shown last.
pub struct Bar {
    terminal: bool,
    started: Instant,
    shown: Option<Instant>,
}

impl Bar {
    /// Nothing is shown before the first unit.
    pub fn new() -> Bar {
        Bar { terminal: stderr().is_terminal(), started: Instant::now(), shown: None }
    }

    /// Shows how far the task is. A standard error that nobody reads is no reason to stop.
    pub fn show(&mut self, progress: Progress) {
        let last = progress.done >= progress.total;
        let due = self.shown.is_none_or(|shown| shown.elapsed() >= PERIOD);
        if !(self.terminal || due || last) {
            return;
        }
        self.shown = Some(Instant::now());
        let line = line(progress, self.started.elapsed());
        let _ = match (self.terminal, last) {
            (true, false) => write!(stderr(), "\r\x1b[K{line}"),
            (true, true) => writeln!(stderr(), "\r\x1b[K{line}"),
            (false, _) => writeln!(stderr(), "{line}"),
        };
    }
}

fn line(Progress { what, done, total }: Progress, elapsed: Duration) -> String {
    let filled = WIDTH * done.min(total) / total.max(1);
    let bar: String = (0..WIDTH).map(|at| if at < filled { '#' } else { '.' }).collect();
    format!("[{bar}] {done}/{total}  {:>3} s  {what}", elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_with_what_is_done() {
        let at = |done, total| line(Progress { what: "machine-1-2", done, total }, Duration::from_secs(7));
        assert_eq!(at(0, 0), format!("[{}] 0/0    7 s  machine-1-2", ".".repeat(30)));
        assert_eq!(at(1, 3), format!("[{}{}] 1/3    7 s  machine-1-2", "#".repeat(10), ".".repeat(20)));
        assert_eq!(at(3, 3), format!("[{}] 3/3    7 s  machine-1-2", "#".repeat(30)));
    }
}
