//! The control groups a process is in, version 1 (one hierarchy a controller) or 2 (unified). Every
//! level up to the root counts: a limit on a parent binds as well.

use super::kept_file::{Buffer, KeptFile, field};
use std::fs;
use std::path::{Path, PathBuf};

/// The levels that can limit a process, found once for a place.
#[derive(Default)]
pub struct Cgroup {
    place: String,
    memory: Vec<MemoryLevel>,
    cpu: Vec<CpuLevel>,
}

struct MemoryLevel {
    limit: KeptFile,
    usage: KeptFile,
    stat: KeptFile,
    /// In `stat`: page cache the kernel takes back first.
    reclaimable: &'static str,
}

struct CpuLevel {
    stat: KeptFile,
    /// In `stat`, and its unit in nanoseconds.
    throttled: (&'static str, u64),
}

/// A mounted hierarchy.
struct Mount<'a> {
    /// The part of the hierarchy that is mounted.
    root: &'a str,
    at: &'a str,
    version: Version<'a>,
}

#[derive(Clone, Copy)]
enum Version<'a> {
    /// With its controllers, comma-separated among other options.
    V1(&'a str),
    V2,
}

impl Cgroup {
    /// The cgroups of `process` under `root`; `place` is the content of its `cgroup` file.
    pub fn find(root: &Path, process: &str, place: String) -> Cgroup {
        let mounts =
            fs::read_to_string(root.join("proc").join(process).join("mountinfo")).unwrap_or_default();
        let mounts: Vec<Mount> = mounts.lines().filter_map(mount).collect();
        let memory = levels(root, &mounts, &place, "memory");
        let cpu = levels(root, &mounts, &place, "cpu");
        Cgroup {
            memory: memory.iter().filter_map(|(path, v1)| MemoryLevel::open(path, *v1)).collect(),
            cpu: cpu.iter().filter_map(|(path, v1)| CpuLevel::open(path, *v1)).collect(),
            place,
        }
    }

    /// The `cgroup` file that this was found from.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The used part of the limit that is nearest to full; `None` if there is no limit.
    pub fn memory_used(&self, buffer: &mut Buffer) -> Option<f32> {
        self.memory.iter().filter_map(|level| level.used(buffer)).reduce(f32::max)
    }

    /// Nanoseconds throttled so far, at all levels; `None` if none can be read. A level without
    /// the counter (the root of version 2) has no quota.
    pub fn throttled_ns(&self, buffer: &mut Buffer) -> Option<u64> {
        let read = |level: &CpuLevel| {
            let (name, unit) = level.throttled;
            level.stat.read(buffer).map(|text| field(text, name).unwrap_or(0).saturating_mul(unit))
        };
        self.cpu.iter().filter_map(read).reduce(u64::saturating_add)
    }
}

impl MemoryLevel {
    fn open(path: &Path, v1: bool) -> Option<MemoryLevel> {
        let (limit, usage, reclaimable) = if v1 {
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        } else {
            ("memory.max", "memory.current", "inactive_file")
        };
        Some(MemoryLevel {
            limit: KeptFile::open(&path.join(limit))?,
            usage: KeptFile::open(&path.join(usage))?,
            stat: KeptFile::open(&path.join("memory.stat"))?,
            reclaimable,
        })
    }

    /// No limit reads as "max" (version 2) or as more than 2^62 octets (version 1).
    fn used(&self, buffer: &mut Buffer) -> Option<f32> {
        let limit = self.limit.number(buffer).filter(|limit| (1..1 << 62).contains(limit))?;
        let usage = self.usage.number(buffer)?;
        let reclaimable = field(self.stat.read(buffer)?, self.reclaimable).unwrap_or(0);
        Some(super::part(usage.saturating_sub(reclaimable) as f64, limit as f64))
    }
}

impl CpuLevel {
    fn open(path: &Path, v1: bool) -> Option<CpuLevel> {
        let throttled = if v1 { ("throttled_time", 1) } else { ("throttled_usec", 1_000) };
        Some(CpuLevel { stat: KeptFile::open(&path.join("cpu.stat"))?, throttled })
    }
}

/// A line of `mountinfo` (proc(5)): `id parent dev root mount-point options [tags…] - type source options`.
fn mount(line: &str) -> Option<Mount<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, at) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let version = match right.next()? {
        "cgroup" => Version::V1(right.nth(1)?),
        "cgroup2" => Version::V2,
        _ => return None,
    };
    Some(Mount { root, at, version })
}

/// The folders that limit `controller` for a process at `place`, from its own up to what is mounted,
/// and whether they are version 1. A controller is in one hierarchy: version 1 if it is mounted so.
fn levels(root: &Path, mounts: &[Mount], place: &str, controller: &str) -> Vec<(PathBuf, bool)> {
    let has = |list: &str| list.split(',').any(|name| name == controller);
    let v1 = mounts.iter().find(|mount| matches!(mount.version, Version::V1(options) if has(options)));
    let v2 = || mounts.iter().find(|mount| matches!(mount.version, Version::V2));
    let Some(mount) = v1.or_else(v2) else { return Vec::new() };
    let own = place.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let ours = if v1.is_some() { has(controllers) } else { controllers.is_empty() };
        ours.then_some(path)
    });
    let Some(own) = own else { return Vec::new() };
    // In a container the path may lie outside of what is mounted: then what is mounted is its own.
    let below = Path::new(own).strip_prefix(mount.root).unwrap_or(Path::new(""));
    let top = root.join(mount.at.trim_start_matches('/'));
    below.ancestors().map(|path| (top.join(path), v1.is_some())).collect()
}
