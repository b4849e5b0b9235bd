//! `[[check]]`: applications behind the far sites that are asked whether they answer.

use super::section::{Read, Section};
use super::types::{Name, choice};
use super::value::{Text, Value, Whole, kind, text};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

choice!(/// How an application is asked.
CheckKind {
    "tcp" => Tcp: "A connection is made.",
    "http" => Http: "A GET is answered with a good status.",
    "postgresql" => PostgreSql: "The server takes connections, or answers a query.",
});

/// A status code, or a range of them: `200`, `"200-399"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status(RangeInclusive<u16>);

impl Status {
    /// Both ends included.
    pub const fn range(&self) -> &RangeInclusive<u16> {
        &self.0
    }
}

impl Value for Status {
    const EXAMPLE: &'static str = "200";
    fn read(value: &toml::Value, path: &str, problems: &mut Vec<super::Problem>) -> Option<Status> {
        let code = |n: i64| u16::try_from(n).ok().filter(|code| (100..=599).contains(code));
        let range = match value {
            toml::Value::Integer(n) => code(*n).map(|code| code..=code),
            toml::Value::String(text) => text.split_once('-').and_then(|(from, to)| {
                let (from, to) = (code(from.parse().ok()?)?, code(to.parse().ok()?)?);
                (from <= to).then_some(from..=to)
            }),
            other => {
                let what = format!("is {}, not a status code", kind(other));
                problems.push(super::Problem::new(path, what, "write 200, or a range such as \"200-399\""));
                return None;
            }
        };
        if range.is_none() {
            let what = format!("{value} is no status code");
            let remedy = "write a code from 100 to 599, or a range such as \"200-399\"";
            problems.push(super::Problem::new(path, what, remedy));
        }
        range.map(Status)
    }
}

/// What is written into a request or a message: printable, and not too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printable(String);

impl From<Printable> for String {
    fn from(text: Printable) -> String {
        text.0
    }
}

impl Printable {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text!(Printable, "ok", |text| {
    if (1..=255).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(Printable(text.to_owned()));
    }
    Err(("is no printable text".to_owned(), "write 1 to 255 printable characters".to_owned()))
});

/// The name of a kernel interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device(String);

impl From<Device> for String {
    fn from(device: Device) -> String {
        device.0
    }
}

text!(Device, "eth1", |text| {
    // IFNAMSIZ counts the closing zero.
    let allowed = |c: char| c.is_ascii_graphic() && c != '/';
    if (1..16).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(Device(text.to_owned()));
    }
    let remedy = "write the name of an interface of the kernel, such as \"eth1\"";
    Err((format!("\"{}\" is no interface's name", text.escape_debug()), remedy.to_owned()))
});

/// What is asked, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A connection.
    Tcp,
    /// A GET.
    Http {
        /// Path and query.
        path: Printable,
        /// The Host field; the address if absent.
        host: Option<Printable>,
        /// Good status codes.
        status: Vec<Status>,
        /// What the body must contain.
        body: Option<Printable>,
    },
    /// A server.
    PostgreSql {
        /// A role that needs no password.
        user: Option<Printable>,
        /// The database.
        database: Option<Printable>,
    },
}

/// `[[check]]`
#[derive(Clone, Debug, PartialEq)]
pub struct ApplicationCheck {
    /// Its place in the file.
    pub index: usize,
    /// Its name: the same at both engines of a site.
    pub name: Name,
    /// The application.
    pub address: SocketAddr,
    /// What is asked.
    pub asked: Asked,
    /// The group of tunnels behind which it is.
    pub group: Option<Name>,
    /// From the begin of an attempt to that of the next, milliseconds.
    pub interval_ms: Whole<100, 60_000>,
    /// How long an attempt may take, milliseconds.
    pub timeout_ms: Whole<10, 60_000>,
    /// Good attempts in a row that make it pass.
    pub rise: Whole<1, 100>,
    /// Bad attempts in a row that make it fail.
    pub fall: Whole<1, 100>,
    /// Whether planned moves depend on it.
    pub blocks: bool,
    /// Where its connections come from.
    pub source: Option<IpAddr>,
    /// The kernel's interface that they leave by.
    pub device: Option<Device>,
}

/// Keys that only one kind has.
const OF_KIND: [(CheckKind, &[&str]); 2] =
    [(CheckKind::Http, &["path", "host", "status", "body"]), (CheckKind::PostgreSql, &["user", "database"])];

impl Read for ApplicationCheck {
    fn read(s: &mut Section<'_>, index: usize) -> Option<ApplicationCheck> {
        let (name, address) = (s.required("name"), s.required::<SocketAddr>("address"));
        let kind = s.required("kind");
        for (of, keys) in OF_KIND.iter().filter(|(of, _)| kind.is_some_and(|kind| kind != *of)) {
            for key in keys.iter().filter(|key| s.has(key)).copied().collect::<Vec<_>>() {
                let what = format!("is for kind = \"{}\"", of.as_str());
                s.wrong(key, what, "remove it, or change kind");
            }
        }
        let asked = asked(s, kind);
        let interval_ms = s.or("interval_ms", Whole::constant::<1000>());
        let timeout_ms = s.or("timeout_ms", Whole::constant::<1000>());
        let (rise, fall) = (s.or("rise", Whole::constant::<2>()), s.or("fall", Whole::constant::<3>()));
        let (group, blocks) = (s.optional("group"), s.or("blocks", true));
        let (source, device) = (s.optional::<IpAddr>("source"), s.optional("device"));
        if let (Some(source), Some(address)) = (source, address)
            && source.is_ipv4() != address.is_ipv4()
        {
            let remedy = "write both as IPv4 or both as IPv6 addresses";
            s.wrong("source", "is of another IP version than address", remedy);
        }
        Some(ApplicationCheck {
            index,
            name: name?,
            address: address?,
            asked: asked?,
            group,
            interval_ms,
            timeout_ms,
            rise,
            fall,
            blocks,
            source,
            device,
        })
    }
}

fn asked(s: &mut Section<'_>, kind: Option<CheckKind>) -> Option<Asked> {
    // Asked for whatever the kind, so that none is unknown.
    let path = s.or("path", Printable("/".to_owned()));
    let (host, body) = (s.optional("host"), s.optional("body"));
    let status: Option<Vec<Status>> = s.optional("status");
    let (user, database) = (s.optional("user"), s.optional("database"));
    if !path.as_str().starts_with('/') || path.as_str().contains(' ') {
        s.wrong(
            "path",
            "is no path",
            "write one that begins with a slash and has no space, such as \"/health\"",
        );
    }
    if status.as_ref().is_some_and(Vec::is_empty) {
        s.wrong("status", "allows no status", "write good codes such as [200, \"300-399\"], or remove it");
    }
    if database.is_some() && user.is_none() && kind == Some(CheckKind::PostgreSql) {
        s.wrong("database", "without a user nothing is asked of a database", "write user, or remove it");
    }
    Some(match kind? {
        CheckKind::Tcp => Asked::Tcp,
        CheckKind::Http => {
            let status = status.unwrap_or_else(|| vec![Status(200..=399)]);
            Asked::Http { path, host, status, body }
        }
        CheckKind::PostgreSql => Asked::PostgreSql { user, database },
    })
}
