//! Time, cheap enough to take for every burst.

use crate::eal::Eal;
use dataplane::id::Nanos;
use std::fs;
use std::time::Duration;

/// A monotonic clock that starts at its creation and runs on while the process is stopped.
///
/// Reads the time stamp counter where its rate is constant, and `CLOCK_MONOTONIC` elsewhere. Copies
/// agree with each other, on every core.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    source: Source,
    hz: u64,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// Nanoseconds are `(cycles - start) * scale >> 32`.
    Tsc {
        start: u64,
        scale: u64,
    },
    Monotonic {
        start: u64,
    },
}

const NANOS_PER_S: u64 = 1_000_000_000;

impl Clock {
    /// Starts at zero, after measuring the counter's rate for 20 ms.
    pub fn new(_eal: &Eal) -> Clock {
        // SAFETY: EAL runs.
        let hz = measure(unsafe { dpdk_sys::rte_get_tsc_hz() });
        let source = if hz > 0 && tsc_is_constant() {
            Source::Tsc {
                start: cycles(),
                scale: (u128::from(NANOS_PER_S) << 32).div_euclid(hz.into()) as u64,
            }
        } else {
            Source::Monotonic { start: monotonic() }
        };
        Clock { source, hz }
    }

    /// Time since the clock's creation.
    #[inline]
    pub fn now(&self) -> Nanos {
        Nanos(match self.source {
            // Another core's counter may be a few cycles behind the one that started the clock.
            Source::Tsc { start, scale } => {
                ((u128::from(cycles().saturating_sub(start)) * u128::from(scale)) >> 32) as u64
            }
            Source::Monotonic { start } => monotonic().saturating_sub(start),
        })
    }

    /// The time stamp counter, for benchmarks.
    #[inline]
    pub fn cycles(&self) -> u64 {
        cycles()
    }

    /// The time stamp counter's rate in 1/s.
    pub fn hz(&self) -> u64 {
        self.hz
    }

    /// Whether [`Clock::now`] reads the time stamp counter.
    pub fn is_tsc(&self) -> bool {
        matches!(self.source, Source::Tsc { .. })
    }
}

impl dataplane::worker::Clock for Clock {
    #[inline]
    fn now(&self) -> Nanos {
        Clock::now(self)
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn cycles() -> u64 {
    // SAFETY: every x86-64 CPU has the instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn cycles() -> u64 {
    // SAFETY: reads a counter.
    unsafe { dpdk_sys::rte_rdtsc() }
}

/// The counter's rate. EAL may round what it measured to 10 MHz, up to half a percent off.
fn measure(rounded: u64) -> u64 {
    let (from, start) = sample();
    std::thread::sleep(Duration::from_millis(20));
    let (to, end) = sample();
    let hz = u128::from(to - from) * u128::from(NANOS_PER_S) / u128::from((end - start).max(1));
    let hz = u64::try_from(hz).unwrap_or(rounded);
    // Further off than rounding explains: this measurement was disturbed.
    if hz.abs_diff(rounded) <= rounded / 100 { hz } else { rounded }
}

/// The counter and the kernel's clock at one moment: the closest of several tries, since this
/// thread may lose its CPU in between.
fn sample() -> (u64, u64) {
    let one = || {
        let (before, ns, after) = (cycles(), monotonic(), cycles());
        (after.wrapping_sub(before), before + after.wrapping_sub(before) / 2, ns)
    };
    let (_, cycles, ns) = (0..16).map(|_| one()).min().unwrap_or_else(one);
    (cycles, ns)
}

fn monotonic() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the struct; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * NANOS_PER_S + now.tv_nsec as u64
}

#[cfg(target_arch = "x86_64")]
fn tsc_is_constant() -> bool {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // The kernel takes "tsc" off this list once it has seen cores disagree.
    let sources =
        fs::read_to_string("/sys/devices/system/clocksource/clocksource0/available_clocksource").ok();
    judge(&cpu, sources.as_deref())
}

/// The counter of other architectures is defined to have a constant rate.
#[cfg(not(target_arch = "x86_64"))]
fn tsc_is_constant() -> bool {
    true
}

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
fn judge(cpuinfo: &str, clock_sources: Option<&str>) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |flag| flags.split_whitespace().any(|word| word == flag);
    let trusted = clock_sources.is_none_or(|list| list.split_whitespace().any(|word| word == "tsc"));
    has("constant_tsc") && has("nonstop_tsc") && trusted
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn only_a_constant_counter_that_the_kernel_trusts_is_used() {
        let both = "model\t: x\nflags\t\t: fpu constant_tsc nonstop_tsc sse\n";
        assert!(judge(both, Some("tsc kvm-clock\n")));
        assert!(judge(both, None));
        assert!(!judge(both, Some("hpet acpi_pm\n")));
        assert!(!judge("flags : fpu constant_tsc\n", None));
        assert!(!judge("", Some("tsc")));
    }
}
