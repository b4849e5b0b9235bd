//! A made-up file system, and real cgroups where the tests may make them.

use super::{HostSample, HostSampler};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A root of a file system, removed at the end.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Root {
        let root = std::env::temp_dir().join(format!("foreshift-host-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        Root(root)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn near(value: f32, expected: f32) {
    assert!((value - expected).abs() < 1e-4, "{value} is not {expected}");
}

const MEMORY: &str = "MemTotal:       1000 kB\nMemFree:          10 kB\nMemAvailable:    900 kB\n";

#[test]
fn version_1_a_limit_on_a_parent_binds_and_cache_does_not_count() {
    let root = Root::new("v1");
    let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 /docker /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    root.write("proc/self/mountinfo", mounts);
    root.write("proc/self/cgroup", "4:memory:/docker/a/b\n1:cpuacct,cpu:/c\n0::/\n");
    root.write("proc/meminfo", MEMORY);
    for (level, limit, usage, cache) in
        [("", u64::MAX >> 1, 9_000, 0), ("a/", 1_000, 900, 500), ("a/b/", 1_000, 300, 100)]
    {
        let file = |name: &str| format!("sys/fs/cgroup/memory/{level}{name}");
        root.write(&file("memory.limit_in_bytes"), &format!("{limit}\n"));
        root.write(&file("memory.usage_in_bytes"), &format!("{usage}\n"));
        root.write(&file("memory.stat"), &format!("inactive_file 1\ntotal_inactive_file {cache}\n"));
    }
    root.write("sys/fs/cgroup/cpu/cpu.stat", "nr_throttled 0\nthrottled_time 0\n");
    root.write("sys/fs/cgroup/cpu/c/cpu.stat", "nr_throttled 5\nthrottled_time 7000000\n");
    let mut sampler = HostSampler::of(&root.0, "self");
    let start = Instant::now();
    let first = sampler.sample(start);
    near(first.memory_used, 0.4);
    assert!(first.cpu_throttled.is_nan());
    root.write("sys/fs/cgroup/cpu/c/cpu.stat", "nr_throttled 6\nthrottled_time 32000000\n");
    root.write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "600\n");
    let second = sampler.sample(start + Duration::from_millis(100));
    near(second.cpu_throttled, 0.25);
    near(second.memory_used, 400.0 / 600.0);
    let stuck = sampler.sample(start + Duration::from_millis(100));
    assert!(stuck.cpu_throttled.is_nan(), "no time has passed");
}

#[test]
fn version_2_follows_a_process_that_is_moved() {
    let root = Root::new("v2");
    root.write("proc/self/mountinfo", "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    root.write("proc/self/cgroup", "0::/\n");
    root.write("proc/meminfo", MEMORY);
    root.write("sys/fs/cgroup/cpu.stat", "usage_usec 77\n");
    let engine = |name: &str, text: &str| root.write(&format!("sys/fs/cgroup/engine/{name}"), text);
    engine("memory.max", "1000\n");
    engine("memory.current", "950\n");
    engine("memory.stat", "anon 900\ninactive_file 50\n");
    engine("cpu.stat", "usage_usec 77\nthrottled_usec 500000\n");
    let mut sampler = HostSampler::of(&root.0, "self");
    let mut now = Instant::now();
    let mut sample = || {
        now += Duration::from_millis(100);
        sampler.sample(now)
    };
    near(sample().memory_used, 0.1);
    let still = sample();
    near(still.cpu_throttled, 0.0);
    root.write("proc/self/cgroup", "0::/engine\n");
    let moved: Vec<HostSample> = (0..11).map(|_| sample()).collect();
    // Its past throttling is not this interval's.
    assert!(moved.iter().all(|sample| sample.cpu_throttled.is_nan() || sample.cpu_throttled == 0.0));
    near(moved[10].memory_used, 0.9);
    engine("cpu.stat", "usage_usec 99\nthrottled_usec 900000\n");
    near(sample().cpu_throttled, 1.0);
}

#[test]
fn nothing_to_measure_is_not_a_number() {
    let root = Root::new("empty");
    let mut sampler = HostSampler::of(&root.0, "self");
    let now = Instant::now();
    for sample in [sampler.sample(now), sampler.sample(now + Duration::from_secs(1))] {
        assert!(sample.memory_used.is_nan() && sample.cpu_throttled.is_nan());
    }
    root.write("proc/self/cgroup", "garbage\n:::\n0::/x\n\u{fffd}");
    root.write("proc/self/mountinfo", "garbage - \n1 2 - cgroup2\n1 2 3 / /c rw - cgroup2 x y\n");
    root.write("proc/meminfo", "MemTotal: 0 kB\nMemAvailable: many\n");
    assert!(HostSampler::of(&root.0, "self").sample(now).memory_used.is_nan());
}

/// A real cgroup below the test's own, with a process in it; both gone at the end.
struct RealCgroup {
    path: PathBuf,
    process: Option<Child>,
}

impl RealCgroup {
    /// `None`, with the reason printed, if this machine does not allow it.
    fn new(controller: &str, limit: (&str, &str), limit_v2: (&str, &str)) -> Option<RealCgroup> {
        let base = Path::new("/sys/fs/cgroup");
        let name = format!("foreshift-test-{controller}-{}", std::process::id());
        let (path, (file, value)) = if base.join("cgroup.controllers").exists() {
            (base.join(name), limit_v2)
        } else {
            (base.join(controller).join(name), limit)
        };
        if let Err(error) = fs::create_dir(&path) {
            println!("skipped: cannot make {}: {error}", path.display());
            return None;
        }
        let cgroup = RealCgroup { path, process: None };
        if let Err(error) = fs::write(cgroup.path.join(file), value) {
            println!("skipped: cannot set {file}: {error}");
            return None;
        }
        Some(cgroup)
    }

    /// Runs `script` in it; it moves itself there first.
    fn run(&mut self, script: &str) -> String {
        let script = format!("echo $$ > '{}/cgroup.procs' && {script}", self.path.display());
        let child = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let process = child.id().to_string();
        self.process = Some(child);
        let name = self.path.file_name().unwrap().to_str().unwrap().to_owned();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap().contains(&name) {
            assert!(Instant::now() < deadline, "the process did not enter its cgroup");
            std::thread::sleep(Duration::from_millis(10));
        }
        process
    }
}

impl Drop for RealCgroup {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        // A killed process leaves its cgroup a moment after it was waited for.
        for _ in 0..50 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("left behind: {}", self.path.display());
    }
}

#[test]
fn a_real_memory_limit_is_seen() {
    let Some(mut cgroup) =
        RealCgroup::new("memory", ("memory.limit_in_bytes", "134217728"), ("memory.max", "134217728"))
    else {
        return;
    };
    // dd fills 64 MiB and waits for a reader that never comes.
    let process = cgroup.run("exec dd if=/dev/zero bs=64M count=1 2>/dev/null");
    let mut sampler = HostSampler::of(Path::new("/"), &process);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let used = sampler.cgroup.memory_used(&mut sampler.buffer).expect("a limit");
        let reported = sampler.sample(Instant::now()).memory_used;
        if used >= 0.5 && reported >= 0.5 {
            assert!(used < 0.75, "{used}");
            break;
        }
        assert!(Instant::now() < deadline, "64 of 128 MiB are seen as {used}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_real_cpu_quota_is_seen() {
    let Some(mut cgroup) = RealCgroup::new("cpu", ("cpu.cfs_quota_us", "10000"), ("cpu.max", "10000 100000"))
    else {
        return;
    };
    let process = cgroup.run("while :; do :; done");
    let mut sampler = HostSampler::of(Path::new("/"), &process);
    assert!(sampler.sample(Instant::now()).cpu_throttled.is_nan());
    // On a busy machine it may take a while until it gets its tenth at all.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        std::thread::sleep(Duration::from_millis(1_500));
        let throttled = sampler.sample(Instant::now()).cpu_throttled;
        if throttled > 0.5 {
            break;
        }
        assert!(Instant::now() < deadline, "a tenth of a CPU is seen as {throttled} throttled");
    }
}
