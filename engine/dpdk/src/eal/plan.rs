//! What EAL is asked for, and the arguments that say so.

/// Whether packets live in hugepages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hugepages {
    /// If enough of them are free.
    #[default]
    Auto,
    /// Always: initialisation fails without.
    On,
    /// Never.
    Off,
}

/// The least severe message that EAL and the drivers print to standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Only failures.
    Error,
    /// And warnings.
    #[default]
    Warning,
    /// And notable events.
    Notice,
    /// And what EAL found.
    Info,
    /// Everything.
    Debug,
}

impl LogLevel {
    fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warning => "warning",
            LogLevel::Notice => "notice",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }
}

/// What EAL starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EalPlan {
    /// The CPU that the calling thread, lcore 0, is pinned to.
    pub main_core: u16,
    /// The CPU of each worker, in order; worker *i* is lcore *i* + 1. CPUs may repeat, and may be
    /// the main core.
    pub worker_cores: Vec<u16>,
    /// Whether packets live in hugepages.
    pub hugepages: Hugepages,
    /// Memory for mempools and drivers in MiB; see [`PoolConfig::memory_mb`](crate::PoolConfig::memory_mb).
    pub memory_mb: u32,
    /// Tells this process's files and log lines from those of others.
    pub file_prefix: String,
    /// Virtual devices, as EAL names them: `net_af_packet0,iface=eth0`.
    pub vdevs: Vec<String>,
    /// PCI addresses of the devices to take, as `0000:01:00.0`. No other is touched.
    pub pci: Vec<String>,
    /// What EAL and the drivers print.
    pub log_level: LogLevel,
}

impl Default for EalPlan {
    fn default() -> EalPlan {
        EalPlan {
            main_core: 0,
            worker_cores: Vec::new(),
            hugepages: Hugepages::Auto,
            memory_mb: 256,
            file_prefix: "foreshift".into(),
            vdevs: Vec::new(),
            pci: Vec::new(),
            log_level: LogLevel::Warning,
        }
    }
}

impl EalPlan {
    /// EAL's command line, program name first.
    pub fn arguments(&self, hugepages: bool) -> Vec<String> {
        let cores = std::iter::once(&self.main_core).chain(&self.worker_cores);
        let lcores: Vec<String> = cores.enumerate().map(|(lcore, cpu)| format!("{lcore}@{cpu}")).collect();
        let mut arguments: Vec<String> = vec![
            "foreshift".into(),
            format!("--lcores={}", lcores.join(",")),
            "--main-lcore=0".into(),
            format!("-m{}", self.memory_mb),
            format!("--file-prefix={}", self.file_prefix),
            "--no-telemetry".into(),
            format!("--log-level={}", self.log_level.name()),
        ];
        // Either way nothing is on disk that a killed engine would leave behind. EAL refuses
        // --in-memory without hugepages, where memory is anonymous anyway.
        if hugepages {
            arguments.push("--in-memory".into());
        } else {
            arguments.extend(["--no-huge".into(), "--no-shconf".into()]);
        }
        if self.pci.is_empty() {
            arguments.extend(["--no-pci".into(), "--iova-mode=va".into()]);
        }
        arguments.extend(self.pci.iter().map(|address| format!("--allow={address}")));
        arguments.extend(self.vdevs.iter().map(|device| format!("--vdev={device}")));
        arguments
    }

    /// Whether to use hugepages, given the text of `/proc/meminfo`.
    pub fn wants_hugepages(&self, meminfo: &str) -> bool {
        match self.hugepages {
            Hugepages::On => true,
            Hugepages::Off => false,
            Hugepages::Auto => free_hugepages_mb(meminfo).is_some_and(|mb| mb >= u64::from(self.memory_mb)),
        }
    }
}

fn free_hugepages_mb(meminfo: &str) -> Option<u64> {
    let value = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let free = value("HugePages_Free")?;
    let size_kb = value("Hugepagesize")?;
    (free > 0).then_some(free * size_kb / 1024)
}
