//! The engine's own process and host: how near memory is to its limit, and how much of its time
//! the engine was kept from running.
//!
//! Sampled every telemetry interval, so files stay open and are read again in place; memory is only
//! allocated when the process has been moved to another cgroup.
#![forbid(unsafe_code)]

mod cgroup;
pub mod durable;
mod kept_file;
#[cfg(test)]
mod tests;

use cgroup::Cgroup;
use kept_file::{Buffer, KeptFile};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Every so many samples: has the process been moved?
const PLACE_CHECKED_EVERY: u32 = 10;

/// The NUMA node of a CPU of this machine, as the kernel tells.
pub fn socket_of_core(core: u16) -> Option<u32> {
    let entries = std::fs::read_dir(format!("/sys/devices/system/cpu/cpu{core}")).ok()?;
    entries.flatten().find_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok())
}

/// What was measured; NaN what could not be.
#[derive(Clone, Copy, Debug)]
pub struct HostSample {
    /// Used part of the memory this process may use, 0–1: of its tightest cgroup limit (page cache that
    /// the kernel would give back not counted) or of the host, whichever is nearer to full.
    pub memory_used: f32,
    /// Part of the time since the last sample that the process' cgroups were throttled by their CPU
    /// quota, 0–1 (all their CPUs added up, and no more than 1).
    pub cpu_throttled: f32,
}

/// Measures this process and its host.
pub struct HostSampler {
    root: PathBuf,
    process: String,
    place: Option<KeptFile>,
    cgroup: Cgroup,
    memory: Option<KeptFile>,
    buffer: Buffer,
    previous: Option<Counters>,
    samples: u32,
}

/// What grows; `None` where not measurable.
#[derive(Clone, Copy)]
struct Counters {
    at: Instant,
    throttled_ns: Option<u64>,
}

impl Default for HostSampler {
    fn default() -> Self {
        HostSampler::new()
    }
}

impl HostSampler {
    /// Of this process.
    pub fn new() -> HostSampler {
        HostSampler::of(Path::new("/"), "self")
    }

    /// Of the process `process` (a number, or `self`) as seen in the file system under `root`.
    fn of(root: &Path, process: &str) -> HostSampler {
        let proc = root.join("proc");
        let mut sampler = HostSampler {
            root: root.to_owned(),
            process: process.to_owned(),
            place: KeptFile::open(&proc.join(process).join("cgroup")),
            cgroup: Cgroup::default(),
            memory: KeptFile::open(&proc.join("meminfo")),
            buffer: Buffer::default(),
            previous: None,
            samples: 0,
        };
        sampler.follow();
        sampler
    }

    /// Measures; the shares of time are those since the last call, so NaN at the first.
    pub fn sample(&mut self, now: Instant) -> HostSample {
        if self.samples.is_multiple_of(PLACE_CHECKED_EVERY) {
            self.follow();
        }
        self.samples = self.samples.wrapping_add(1);
        let counters = Counters { at: now, throttled_ns: self.cgroup.throttled_ns(&mut self.buffer) };
        let previous = self.previous.replace(counters);
        let throttled = previous.and_then(|previous| {
            let wall_ns = now.saturating_duration_since(previous.at).as_nanos() as f64;
            Some(part(growth(previous.throttled_ns, counters.throttled_ns)?, wall_ns))
        });
        HostSample {
            cpu_throttled: throttled.unwrap_or(f32::NAN),
            memory_used: nearest_to_full(self.cgroup.memory_used(&mut self.buffer), self.host_memory_used()),
        }
    }

    /// Finds the cgroups anew if the process is in others than before.
    fn follow(&mut self) {
        let Some(place) = self.place.as_ref().and_then(|file| file.read(&mut self.buffer)) else { return };
        if place != self.cgroup.place() {
            self.cgroup = Cgroup::find(&self.root, &self.process, place.to_owned());
            // Other cgroups, other counters.
            self.previous = None;
        }
    }

    fn host_memory_used(&mut self) -> Option<f32> {
        let text = self.memory.as_ref()?.read(&mut self.buffer)?;
        let total = kept_file::field(text, "MemTotal:")?;
        let available = kept_file::field(text, "MemAvailable:")?;
        Some(part(total.saturating_sub(available) as f64, total as f64))
    }
}

/// `None` if unknown, or if the counter went back: a level came or went in between.
fn growth(before: Option<u64>, after: Option<u64>) -> Option<f64> {
    Some(after?.checked_sub(before?)? as f64)
}

/// `of / whole`, 0–1; NaN of nothing.
fn part(of: f64, whole: f64) -> f32 {
    if whole > 0.0 { (of / whole).clamp(0.0, 1.0) as f32 } else { f32::NAN }
}

fn nearest_to_full(one: Option<f32>, other: Option<f32>) -> f32 {
    one.into_iter().chain(other).fold(f32::NAN, f32::max)
}
