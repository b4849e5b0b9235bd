//! The configuration: TOML → validated [`Config`], or every mistake at once, each with its TOML path
//! and its remedy. Syntax first, then each value in itself, then what values say of each other.

pub mod access;
pub mod adaptive;
pub mod application;
mod check;
pub mod cluster;
pub mod mirror;
pub mod model;
mod problem;
mod read;
mod section;
pub mod shadow;
pub mod site;
mod suggest;
#[cfg(test)]
mod tests;
pub mod types;
pub mod underlay;
mod value;
pub mod vrrp;
mod warn;
pub mod wireguard;

pub use problem::{ConfigErrors, Problem};

use access::{AccessList, NatSection, SessionSection};
use cluster::Cluster;
use model::*;
use section::{Read, Section};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// A configuration without a mistake that reading alone can find.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Who this is.
    pub engine: Engine,
    /// Cores and memory.
    pub dpdk: Dpdk,
    /// At least one.
    pub ports: Vec<Port>,
    /// At least one.
    pub interfaces: Vec<Interface>,
    /// The addresses that belong to the owner of the site.
    pub gateway: Option<Gateway>,
    /// The pair this engine belongs to.
    pub ha: Option<Ha>,
    /// The control connections.
    pub control: Option<Control>,
    /// Other engines.
    pub peers: Vec<Peer>,
    /// Tunnels to them.
    pub tunnels: Vec<Tunnel>,
    /// Applications that are asked.
    pub checks: Vec<application::ApplicationCheck>,
    /// Neighbours that are watched.
    pub bfd: Vec<Bfd>,
    /// Far sites.
    pub groups: Vec<Group>,
    /// Static routes.
    pub routes: Vec<Route>,
    /// Where more routes are.
    pub routing: Routing,
    /// How prediction is acted upon.
    pub prediction: Prediction,
    /// How traffic is shifted.
    pub shift: Shift,
    /// How paths are measured.
    pub probe: Probe,
    /// What computes ESP.
    pub crypto: Crypto,
    /// The state that it shares with others, if it does.
    pub cluster: Option<Cluster>,
    /// What is mirrored to the other engine of the site, if anything.
    pub mirror: Option<mirror::Mirror>,
    /// Who holds its sessions, and whose it holds.
    pub shadow: Option<shadow::Shadow>,
    /// Where it keeps what it shares with the other engine of the site, if it does.
    pub site: Option<site::Site>,
    /// How to talk to the running engine.
    pub api: Api,
    /// What is recorded.
    pub telemetry: Telemetry,
    /// Who may pass; everyone without it.
    pub acl: Option<AccessList>,
    /// The sessions that are kept, if any.
    pub sessions: Option<SessionSection>,
    /// Who is translated.
    pub nat: Option<NatSection>,
    /// ICMP errors.
    pub icmp: Icmp,
    /// Logging.
    pub log: Log,
    /// What nobody wants in production.
    pub debug: Debug,
    /// SHA-256 of the text it was read from, hexadecimal.
    pub digest: String,
}

/// Every `name` of each array of tables, valid element or not: a reference to an element that has another
/// mistake is not itself a mistake.
type Names = BTreeMap<&'static str, Vec<String>>;

impl Config {
    /// Reads and validates a file. Paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        Config::load_with_table(path).map(|(config, _)| config)
    }

    /// The same, with the tables as they are written.
    fn load_with_table(path: &Path) -> Result<(Config, Table), ConfigErrors> {
        let in_file = |problems| ConfigErrors { file: Some(path.to_owned()), problems };
        let text = std::fs::read_to_string(path).map_err(|error| {
            let remedy = "name a readable file with -c";
            in_file(vec![Problem::new("file", format!("cannot be read: {error}"), remedy)])
        })?;
        let table = parse_table(&text).map_err(|problem| in_file(vec![problem]))?;
        let mut config = check_table(&table, &digest(&text)).map_err(in_file)?;
        config.resolve_paths(path.parent().unwrap_or(Path::new("")));
        Ok((config, table))
    }

    /// Validates a text.
    #[cfg(any(test, fuzzing))]
    pub fn parse(text: &str) -> Result<Config, ConfigErrors> {
        let of_text = |problems| ConfigErrors { file: None, problems };
        let table = parse_table(text).map_err(|problem| of_text(vec![problem]))?;
        check_table(&table, &digest(text)).map_err(of_text)
    }

    /// What is doubtful on this machine; nothing that keeps the engine from being configured.
    pub fn warnings(&self) -> Vec<Problem> {
        warn::warnings(self)
    }

    /// Every section that a file may have.
    fn section_names() -> Vec<&'static str> {
        let (nothing, mut problems) = (Table::new(), Vec::new());
        let mut root = Section::new(&nothing, "", &mut problems);
        let _ = Config::sections(&mut root);
        root.asked().to_vec()
    }

    fn sections(s: &mut Section<'_>) -> Option<Config> {
        let (engine, dpdk) = (required(s, "engine"), required(s, "dpdk"));
        let (ports, interfaces) = (s.tables("port"), s.tables("interface"));
        for (key, empty) in [("port", ports.is_empty()), ("interface", interfaces.is_empty())] {
            if empty && !s.has(key) {
                s.wrong(key, "is missing", format!("write at least one [[{key}]]"));
            }
        }
        let (gateway, ha, control) =
            (s.table("gateway").flatten(), s.table("ha").flatten(), s.table("control"));
        let (peers, tunnels) = (s.tables("peer"), s.tables("tunnel"));
        let (bfd, checks) = (s.tables("bfd"), s.tables("check"));
        let (groups, routes) = (s.tables("group"), s.tables("route"));
        let routing = default(s, "routing");
        let (prediction, shift, probe) = (default(s, "prediction"), default(s, "shift"), default(s, "probe"));
        let (crypto, api) = (default(s, "crypto"), required(s, "api"));
        let (telemetry, icmp) = (default(s, "telemetry"), default(s, "icmp"));
        let (acl, sessions, nat) = (s.table("acl"), s.table("sessions"), s.table("nat"));
        let (cluster, mirror, shadow) = (s.table("cluster"), s.table("mirror"), s.table("shadow"));
        let site = s.table("site");
        let (log, debug) = (default(s, "log"), default(s, "debug"));
        Some(Config {
            engine: engine?,
            dpdk: dpdk?,
            ports,
            interfaces,
            gateway,
            ha,
            control: control.flatten(),
            peers,
            tunnels,
            checks,
            bfd,
            groups,
            routes,
            routing: routing?,
            prediction: prediction?,
            shift: shift?,
            probe: probe?,
            crypto: crypto?,
            cluster: cluster.flatten(),
            mirror: mirror.flatten(),
            shadow: shadow.flatten(),
            site: site.flatten(),
            api: api?,
            telemetry: telemetry?,
            acl: acl.flatten(),
            sessions: sessions.flatten(),
            nat: nat.flatten(),
            icmp: icmp?,
            log: log?,
            debug: debug?,
            digest: String::new(),
        })
    }

    fn resolve_paths(&mut self, folder: &Path) {
        let control = self.control.iter_mut().flat_map(|c| [&mut c.ca, &mut c.cert, &mut c.key]);
        let optional = [
            &mut self.routing.file,
            &mut self.prediction.model,
            &mut self.telemetry.record,
            &mut self.debug.export_esp_keys,
        ];
        let keys = self.tunnels.iter_mut().flat_map(|tunnel| tunnel.protocol.files_mut());
        let cluster = self.cluster.iter_mut().flat_map(Cluster::paths);
        let learning = self.prediction.learning.iter_mut().flat_map(|learning| {
            [Some(&mut learning.store), learning.history.as_mut(), learning.recordings.as_mut()]
        });
        let optional = optional.into_iter().flatten().chain(learning.flatten());
        let optional = optional.chain(self.site.iter_mut().map(|site| &mut site.keep));
        let all = control.chain(keys).chain(cluster).chain(optional).chain([&mut self.api.socket]);
        all.for_each(|path: &mut PathBuf| *path = folder.join(&*path));
    }
}

fn required<T: Read>(s: &mut Section<'_>, key: &'static str) -> Option<T> {
    s.table(key).unwrap_or_else(|| {
        s.wrong(key, "is missing", format!("write a [{key}] section"));
        None
    })
}

/// A section whose every key has a default.
fn default<T: Read>(s: &mut Section<'_>, key: &'static str) -> Option<T> {
    let written = s.table(key).flatten();
    written.or_else(|| section::read(&Table::new(), key.to_owned(), 0, &mut Vec::new()))
}

fn parse_table(text: &str) -> Result<Table, Problem> {
    text.parse::<Table>().map_err(|error| {
        let remedy = "correct the TOML there; further errors show after that";
        Problem::new(position(text, error.span()), error.message().replace('\n', ", "), remedy)
    })
}

/// Reads and validates tables; `digest` is that of the file.
fn check_table(table: &Table, digest: &str) -> Result<Config, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut root = Section::new(table, "", &mut problems);
    let config = Config::sections(&mut root);
    root.finish();
    if let Some(config) = &config {
        check::check(config, &names(table), &mut problems);
    }
    match config {
        Some(config) if problems.is_empty() => Ok(Config { digest: digest.to_owned(), ..config }),
        _ => Err(problems),
    }
}

/// A section as its table reads, for tests.
#[cfg(test)]
pub fn section_of<T: Read>(table: &Table, problems: &mut Vec<Problem>) -> Option<T> {
    section::read(table, String::new(), 0, problems)
}

/// A value as its text reads, for tests.
#[cfg(test)]
pub fn value_of<T: value::Text>(text: &str) -> T {
    T::from_text(text).unwrap_or_else(|(what, _)| panic!("{what}"))
}

fn digest(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

fn names(table: &Table) -> Names {
    let named = |key: &'static str| {
        let elements = table.get(key).and_then(Value::as_array).into_iter().flatten();
        let names = elements.filter_map(|element| Some(element.get("name")?.as_str()?.to_owned()));
        (key, names.collect())
    };
    ["port", "interface", "peer", "tunnel", "bfd", "group", "check"].into_iter().map(named).collect()
}

/// `line 3, column 9`.
fn position(text: &str, span: Option<std::ops::Range<usize>>) -> String {
    let before = text.get(..span.map_or(0, |span| span.start)).unwrap_or(text);
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    format!("line {}, column {column}", before.matches('\n').count() + 1)
}
