//! Single values: from TOML to a validated type, or to problems that say what to write.

use super::problem::Problem;
use dataplane::replay::WindowSize;
use dataplane::wire::MacAddr;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A value that can stand behind a key.
pub trait Value: Sized {
    /// As it is written in TOML, for remedies.
    const EXAMPLE: &'static str;
    /// `None` after the problems at `path` were recorded.
    fn read(value: &toml::Value, path: &str, problems: &mut Vec<Problem>) -> Option<Self>;
}

/// A value written as a string: most of ours.
pub trait Text: Sized {
    /// As written in TOML, for remedies.
    const QUOTED: &'static str;
    /// `Err((what, remedy))`.
    fn from_text(text: &str) -> Result<Self, (String, String)>;
}

impl<T: Text> Value for T {
    const EXAMPLE: &'static str = T::QUOTED;
    fn read(value: &toml::Value, path: &str, problems: &mut Vec<Problem>) -> Option<T> {
        let parsed = match value {
            toml::Value::String(text) => T::from_text(text),
            other => Err((format!("is {}, not a string", kind(other)), format!("write {}", T::QUOTED))),
        };
        parsed.map_err(|(what, remedy)| problems.push(Problem::new(path, what, remedy))).ok()
    }
}

/// What a TOML value is, with its article.
pub fn kind(value: &toml::Value) -> &'static str {
    match value {
        toml::Value::String(_) => "a string",
        toml::Value::Integer(_) => "an integer",
        toml::Value::Float(_) => "a float",
        toml::Value::Boolean(_) => "a boolean",
        toml::Value::Datetime(_) => "a date",
        toml::Value::Array(_) => "an array",
        toml::Value::Table(_) => "a table",
    }
}

macro_rules! text {
    ($type:ty, $example:literal, $parse:expr) => {
        impl Text for $type {
            const QUOTED: &'static str = concat!("\"", $example, "\"");
            fn from_text(text: &str) -> Result<Self, (String, String)> {
                let parse: fn(&str) -> Result<Self, (String, String)> = $parse;
                parse(text)
            }
        }
    };
}
pub(super) use text;

text!(IpAddr, "192.0.2.20", |text| text.parse().map_err(|_| (
    format!("{text} is not an IP address"),
    "write an IPv4 or IPv6 address such as \"192.0.2.20\"".to_owned(),
)));
text!(IpNet, "10.1.0.2/24", |text| text.parse().map_err(|_| (
    format!("{text} is not an address with a prefix length"),
    "write one such as \"10.1.0.2/24\" or \"fd00:a::2/64\"".to_owned(),
)));
text!(SocketAddr, "10.255.0.11:7000", |text| text.parse().map_err(|_| (
    format!("{text} is not an address and port"),
    "write one such as \"10.255.0.11:7000\" or \"[fd00::11]:7000\"".to_owned(),
)));
text!(MacAddr, "02:00:00:00:00:01", |text| match text.parse::<MacAddr>() {
    Ok(mac) if mac.is_unicast() => Ok(mac),
    _ => Err((
        format!("{text} is not one station's Ethernet address"),
        "write six hexadecimal bytes, the first one even, such as \"02:00:00:00:00:01\"".to_owned(),
    )),
});
text!(PathBuf, "pki/ca.pem", |text| {
    if text.is_empty() || text.contains('\0') {
        return Err(("is not a path".to_owned(), "write the path of a file, or remove the key".to_owned()));
    }
    Ok(PathBuf::from(text))
});

impl Value for bool {
    const EXAMPLE: &'static str = "true";
    fn read(value: &toml::Value, path: &str, problems: &mut Vec<Problem>) -> Option<bool> {
        if value.as_bool().is_none() {
            let remedy = "write true or false, without quotes";
            problems.push(Problem::new(path, format!("is {}, not a boolean", kind(value)), remedy));
        }
        value.as_bool()
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whole<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    /// A default; refused at compile time if out of range.
    pub const fn constant<const N: u64>() -> Self {
        const { assert!(MIN <= N && N <= MAX) };
        Whole(N)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Value for Whole<MIN, MAX> {
    const EXAMPLE: &'static str = "a whole number";
    fn read(value: &toml::Value, path: &str, problems: &mut Vec<Problem>) -> Option<Self> {
        let what = match value.as_integer().map(|n| (n, u64::try_from(n))) {
            Some((_, Ok(n))) if (MIN..=MAX).contains(&n) => return Some(Whole(n)),
            Some((n, _)) => format!("{n} is out of range"),
            None => format!("is {}, not a whole number", kind(value)),
        };
        problems.push(Problem::new(path, what, format!("write a whole number from {MIN} to {MAX}")));
        None
    }
}

/// A probability: more than 0, less than 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probability(f64);

impl Probability {
    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Value for Probability {
    const EXAMPLE: &'static str = "0.7";
    fn read(value: &toml::Value, path: &str, problems: &mut Vec<Problem>) -> Option<Self> {
        let what = match value.as_float().or(value.as_integer().map(|n| n as f64)) {
            Some(p) if p > 0.0 && p < 1.0 => return Some(Probability(p)),
            Some(p) => format!("{p} is not a probability between 0 and 1"),
            None => format!("is {}, not a number", kind(value)),
        };
        problems.push(Problem::new(path, what, "write a number above 0 and below 1, such as 0.7"));
        None
    }
}

/// What traffic is worth beside other traffic: from a hundredth to a hundred times as much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weight(f64);

impl Weight {
    /// As much as any other.
    pub const ONE: Weight = Weight(1.0);

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Value for Weight {
    const EXAMPLE: &'static str = "1.0";
    fn read(value: &toml::Value, path: &str, problems: &mut Vec<Problem>) -> Option<Self> {
        let what = match value.as_float().or(value.as_integer().map(|n| n as f64)) {
            Some(weight) if (0.01..=100.0).contains(&weight) => return Some(Weight(weight)),
            Some(weight) => format!("{weight} is no weight"),
            None => format!("is {}, not a number", kind(value)),
        };
        problems.push(Problem::new(
            path,
            what,
            "write a number from 0.01 to 100; 1.0 is as much as any other",
        ));
        None
    }
}

/// A length of time in hours or minutes, decimals allowed: a laboratory has less patience than a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Time<const UNIT_S: u64, const MIN_S: u64, const MAX_S: u64>(f64);

impl<const UNIT_S: u64, const MIN_S: u64, const MAX_S: u64> Time<UNIT_S, MIN_S, MAX_S> {
    /// A default of so many units; refused at compile time if out of range.
    pub const fn constant<const N: u64>() -> Self {
        const { assert!(MIN_S <= N * UNIT_S && N * UNIT_S <= MAX_S) };
        Time(N as f64)
    }

    /// The time.
    pub fn get(self) -> Duration {
        Duration::from_secs_f64(self.0 * UNIT_S as f64)
    }
}

impl<const UNIT_S: u64, const MIN_S: u64, const MAX_S: u64> Value for Time<UNIT_S, MIN_S, MAX_S> {
    const EXAMPLE: &'static str = "1.5";
    fn read(value: &toml::Value, path: &str, problems: &mut Vec<Problem>) -> Option<Self> {
        let (least, most) = (MIN_S as f64 / UNIT_S as f64, MAX_S as f64 / UNIT_S as f64);
        let what = match value.as_float().or(value.as_integer().map(|n| n as f64)) {
            Some(time) if (least..=most).contains(&time) => return Some(Time(time)),
            Some(time) => format!("{time} is out of range"),
            None => format!("is {}, not a number", kind(value)),
        };
        problems.push(Problem::new(path, what, format!("write a number from {least} to {most}")));
        None
    }
}

impl<T: Value> Value for Vec<T> {
    const EXAMPLE: &'static str = "[…]";
    fn read(value: &toml::Value, path: &str, problems: &mut Vec<Problem>) -> Option<Vec<T>> {
        let Some(items) = value.as_array() else {
            let remedy = format!("write [{}]", T::EXAMPLE);
            problems.push(Problem::new(path, format!("is {}, not an array", kind(value)), remedy));
            return None;
        };
        let read: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(i, item)| T::read(item, &format!("{path}[{i}]"), problems))
            .collect();
        read.into_iter().collect()
    }
}

impl Value for WindowSize {
    const EXAMPLE: &'static str = "1024";
    fn read(value: &toml::Value, path: &str, problems: &mut Vec<Problem>) -> Option<WindowSize> {
        let packets = value.as_integer().and_then(|n| u32::try_from(n).ok());
        let size = packets.and_then(WindowSize::new);
        if size.is_none() {
            let what = format!("{value} is not the size of a replay window");
            problems.push(Problem::new(path, what, "write a multiple of 64 from 64 to 4096"));
        }
        size
    }
}
