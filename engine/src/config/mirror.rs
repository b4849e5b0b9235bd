//! `[mirror]`: traffic that the other engine of the site checks itself with.

use super::problem::Problem;
use super::section::{Read, Section};
use super::value::{Value, Whole, kind};
use std::time::Duration;

/// `[mirror]`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirror {
    /// The part of the flows that is mirrored, as far as the rest allows.
    pub share: Share,
    /// The most copies a second.
    pub packets_per_second: Whole<1, 1_000_000>,
    /// The most kilobytes of copies a second.
    pub kilobytes_per_second: Whole<1, 1_000_000>,
    /// Other flows are chosen after so long.
    pub rotate_seconds: Whole<1, 86_400>,
}

impl Mirror {
    /// How long one choice of flows lasts.
    pub const fn rotate(&self) -> Duration {
        Duration::from_secs(self.rotate_seconds.get())
    }
}

/// A part of all flows: 1 to 5 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(f64);

impl Share {
    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Value for Share {
    const EXAMPLE: &'static str = "0.05";
    fn read(value: &toml::Value, path: &str, problems: &mut Vec<Problem>) -> Option<Share> {
        let what = match value.as_float() {
            Some(share) if (0.01..=0.05).contains(&share) => return Some(Share(share)),
            Some(share) => format!("{share} is not between 0.01 and 0.05"),
            None => format!("is {}, not a number such as 0.05", kind(value)),
        };
        let remedy = "write a share from 0.01 to 0.05, or remove [mirror]";
        problems.push(Problem::new(path, what, remedy));
        None
    }
}

impl Read for Mirror {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Mirror> {
        let (packets, kilobytes) = (Whole::constant::<20_000>(), Whole::constant::<4_000>());
        Some(Mirror {
            share: s.required("share")?,
            packets_per_second: s.or("packets_per_second", packets),
            kilobytes_per_second: s.or("kilobytes_per_second", kilobytes),
            rotate_seconds: s.or("rotate_seconds", Whole::constant::<600>()),
        })
    }
}
