//! Routes as text, one a line: `PREFIX via ADDRESS`, `PREFIX group NAME` or `PREFIX blackhole`. `#` begins a comment.
//! A routes file and `foreshift routes add` are written so.

#[cfg(test)]
mod tests;

use crate::plan::ForwardingPlan;
use dataplane::id::GroupId;
use dataplane::snapshot::{Interface, NextHop};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// Mistakes of one file that are named; more are counted.
const NAMED: usize = 20;

/// What routes may lead to, and which prefixes are not theirs to take.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    interfaces: Vec<Interface>,
    groups: Vec<(String, GroupId)>,
    configured: BTreeSet<IpNet>,
}

/// Changes of routes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// What they lead to, each once.
    pub next_hops: Vec<NextHop>,
    /// Prefixes, each with the place of its next hop in `next_hops`; `None` withdraws the route.
    pub changes: Vec<(IpNet, Option<u32>)>,
}

/// What is wrong with a line, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// What is wrong with a routes file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{path}: cannot be read: {error}; name a readable file of routes")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Lines of it are wrong.
    #[error("{}", lines(.path, .mistakes))]
    Lines {
        /// Which.
        path: PathBuf,
        /// By line, from 1; never empty.
        mistakes: Vec<(usize, Mistake)>,
    },
}

fn lines(path: &Path, mistakes: &[(usize, Mistake)]) -> String {
    let named = mistakes.iter().take(NAMED);
    let mut text: Vec<String> =
        named.map(|(line, mistake)| format!("{}:{line}: {mistake}", path.display())).collect();
    if mistakes.len() > NAMED {
        text.push(format!("{}: {} more lines are wrong", path.display(), mistakes.len() - NAMED));
    }
    text.join("\n")
}

fn mistake<T>(what: impl Into<String>, remedy: impl Into<String>) -> Result<T, Mistake> {
    Err(Mistake { what: what.into(), remedy: remedy.into() })
}

impl Targets {
    /// Those of a plan.
    pub fn new(plan: &ForwardingPlan) -> Targets {
        Targets {
            interfaces: plan.interfaces.clone(),
            groups: plan.groups.iter().map(|group| (group.name.clone(), group.id)).collect(),
            configured: own(plan).into_keys().collect(),
        }
    }

    /// A prefix that routes may take.
    pub fn prefix(&self, text: &str) -> Result<IpNet, Mistake> {
        let Ok(prefix) = text.parse::<IpNet>() else {
            return mistake(format!("\"{text}\" is not a prefix"), "write one such as 198.51.100.0/24");
        };
        if prefix != prefix.trunc() {
            return mistake(format!("{prefix} has host bits"), format!("write {}", prefix.trunc()));
        }
        if self.configured.contains(&prefix) {
            let what = format!("{prefix} is an interface's or a [[route]] of the configuration");
            return mistake(what, "change it there, or leave it out here");
        }
        Ok(prefix)
    }

    /// What the words behind a prefix mean.
    fn next_hop(&self, prefix: IpNet, target: &str) -> Result<NextHop, Mistake> {
        let words: Vec<&str> = target.split_whitespace().collect();
        match words[..] {
            ["blackhole"] => Ok(NextHop::Blackhole),
            ["group", name] => match self.groups.iter().find(|(known, _)| known == name) {
                Some(&(_, id)) => Ok(NextHop::Group(id)),
                None => {
                    let known: Vec<&str> = self.groups.iter().map(|(name, _)| name.as_str()).collect();
                    let remedy = if known.is_empty() {
                        "configure one with [[group]]".to_owned()
                    } else {
                        format!("the groups are {}", known.join(", "))
                    };
                    mistake(format!("there is no group \"{name}\""), remedy)
                }
            },
            ["via", router] => self.via(prefix, router),
            [] => mistake("the route leads nowhere", "write via ADDRESS, group NAME or blackhole behind it"),
            _ => mistake(
                format!("\"{}\" is not a target", words.join(" ")),
                "write via ADDRESS, group NAME or blackhole",
            ),
        }
    }

    fn via(&self, prefix: IpNet, router: &str) -> Result<NextHop, Mistake> {
        let Ok(gateway) = router.parse::<IpAddr>() else {
            return mistake(format!("\"{router}\" is not an address"), "write one such as 192.0.2.1");
        };
        if gateway.is_ipv4() != prefix.addr().is_ipv4() {
            let what = format!("{gateway} and {prefix} are not of one IP version");
            return mistake(what, "write a router of the prefix's version");
        }
        if self.interfaces.iter().any(|interface| interface.has(gateway)) {
            return mistake(format!("{gateway} is this engine itself"), "write the address of a neighbour");
        }
        let nets = self.interfaces.iter().flat_map(|i| i.addresses.iter().map(move |net| (net, i.id)));
        let on_link = nets.filter(|(net, _)| net.contains(&gateway)).max_by_key(|(net, _)| net.prefix_len());
        match on_link {
            Some((_, interface)) => Ok(NextHop::Via { interface, gateway }),
            None => mistake(
                format!("{gateway} is on no network of any interface"),
                "write a router that is a direct neighbour",
            ),
        }
    }

    /// One route.
    pub fn route(&self, line: &str) -> Result<(IpNet, NextHop), Mistake> {
        let (prefix, target) = split(line);
        let prefix = self.prefix(prefix)?;
        Ok((prefix, self.next_hop(prefix, target)?))
    }

    /// The routes of a text, or every line that is wrong, from 1.
    pub fn routes(&self, text: &str) -> Result<Batch, Vec<(usize, Mistake)>> {
        let (mut batch, mut mistakes) = (Batch::default(), Vec::new());
        // A large table has few targets: each is understood once a version of IP.
        let mut targets: HashMap<(&str, bool), u32> = HashMap::new();
        let mut seen: HashMap<IpNet, usize> = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            let (prefix, target) = split(line);
            let mut read = || {
                let prefix = self.prefix(prefix)?;
                if let Some(earlier) = seen.insert(prefix, number) {
                    return mistake(format!("{prefix} is on line {earlier} already"), "keep one of them");
                }
                let key = (target, prefix.addr().is_ipv4());
                let place = match targets.get(&key) {
                    Some(&place) => place,
                    None => {
                        batch.next_hops.push(self.next_hop(prefix, target)?);
                        targets.insert(key, batch.next_hops.len() as u32 - 1);
                        batch.next_hops.len() as u32 - 1
                    }
                };
                batch.changes.push((prefix, Some(place)));
                Ok(())
            };
            if let Err(mistake) = read() {
                mistakes.push((number, mistake));
            }
        }
        if mistakes.is_empty() { Ok(batch) } else { Err(mistakes) }
    }

    /// The routes of a file.
    ///
    /// # Errors
    /// If it cannot be read, or with the lines that are wrong.
    pub fn load(&self, path: &Path) -> Result<Batch, FileError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| FileError::Io { path: path.to_owned(), error })?;
        self.routes(&text).map_err(|mistakes| FileError::Lines { path: path.to_owned(), mistakes })
    }
}

/// The prefix of a line, and the words behind it.
fn split(line: &str) -> (&str, &str) {
    let line = line.trim();
    line.split_once(char::is_whitespace).map_or((line, ""), |(prefix, target)| (prefix, target.trim()))
}

/// The routes that follow from the configuration: planned ones, connected prefixes and own addresses. Gateway addresses
/// are among them always; whether they are answered for is the interface's affair, so that ownership moves without a
/// change of routes.
pub fn own(plan: &ForwardingPlan) -> BTreeMap<IpNet, NextHop> {
    let mut routes: BTreeMap<IpNet, NextHop> = plan.routes.iter().copied().collect();
    for interface in &plan.interfaces {
        for net in &interface.addresses {
            routes.insert(net.trunc(), NextHop::Connected(interface.id));
        }
    }
    let gateway = plan.gateway.iter().flat_map(|(_, addresses)| addresses);
    let own: Vec<&IpNet> = plan.interfaces.iter().flat_map(|i| &i.addresses).chain(gateway).collect();
    for net in &own {
        if let IpNet::V4(v4) = net
            && v4.prefix_len() < 31
        {
            // Directed broadcasts are not forwarded (RFC 2644).
            for edge in [v4.network(), v4.broadcast()] {
                routes.insert(IpAddr::from(edge).into(), NextHop::Blackhole);
            }
        }
    }
    for net in own {
        routes.insert(net.addr().into(), NextHop::Local);
    }
    routes.insert(IpAddr::from(Ipv4Addr::BROADCAST).into(), NextHop::Blackhole);
    routes
}
