//! `[cluster]`: the state store.

use super::section::{Read, Section};
use super::types::{Name, choice};
use super::value::{Text, text};
use std::net::IpAddr;
use std::path::PathBuf;

/// `[cluster]`
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Whose prefix this engine writes.
    pub region: Name,
    /// What keeps the state.
    pub store: StoreSection,
    /// `[[cluster.remote]]`: other regions' stores, which are only read.
    pub remotes: Vec<Remote>,
    /// Where what is known of them is kept.
    pub keep: Option<PathBuf>,
}

choice!(/// `store`, as written.
StoreName {
    "embedded" => Embedded: "A file of this process.",
    "etcd" => Etcd: "An etcd cluster.",
});

/// What keeps the state.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreSection {
    /// A file of this process.
    Embedded {
        /// It.
        path: PathBuf,
    },
    /// An etcd cluster.
    Etcd(EtcdSection),
}

impl StoreSection {
    /// As written.
    pub fn name(&self) -> &'static str {
        match self {
            StoreSection::Embedded { .. } => StoreName::Embedded.as_str(),
            StoreSection::Etcd(_) => StoreName::Etcd.as_str(),
        }
    }
}

/// How an etcd cluster is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct EtcdSection {
    /// Its members; all `https`, or all `http`.
    pub endpoints: Vec<Endpoint>,
    /// PEM of the authority that signed their certificates; for `https`.
    pub ca: Option<PathBuf>,
    /// PEM of this engine's certificate and of its key, for those who ask.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// A user and the file that has its password.
    pub login: Option<(String, PathBuf)>,
}

/// `[[cluster.remote]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    /// Its place in the file.
    pub index: usize,
    /// The region.
    pub region: Name,
    /// Its store.
    pub etcd: EtcdSection,
}

/// A member of an etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    url: String,
    tls: bool,
}

impl Endpoint {
    /// As written.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it is `https`.
    pub fn tls(&self) -> bool {
        self.tls
    }
}

text!(Endpoint, "https://10.255.0.31:2379", |text| {
    let wrong = |what: String| {
        Err((what, "write a member's client URL such as \"https://10.255.0.31:2379\"".to_owned()))
    };
    let (tls, address) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(address), _) => (true, address),
        (_, Some(address)) => (false, address),
        _ => return wrong(format!("{text} begins with neither https:// nor http://")),
    };
    let Some((host, port)) = address.rsplit_once(':') else {
        return wrong(format!("{text} names no port"));
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let ip = host.parse::<IpAddr>();
    if host.is_empty() || !(ip.is_ok() || host.chars().all(name)) {
        return wrong(format!("{text} names no host"));
    }
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return wrong(format!("{port} is not a port"));
    }
    if !tls && !ip.is_ok_and(|ip| ip.is_loopback()) {
        let what = format!("{text} is in clear: whoever is on the way could change what engines share");
        return Err((what, "write https:// and ca; http:// is for loopback addresses".to_owned()));
    }
    Ok(Endpoint { url: text.to_owned(), tls })
});

const ETCD_KEYS: [&str; 6] = ["endpoints", "ca", "cert", "key", "user", "password_file"];

impl Read for Cluster {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Cluster> {
        let region = s.required("region");
        let name = s.or("store", StoreName::Embedded);
        let (remotes, keep) = (s.tables::<Remote>("remote"), s.optional("keep"));
        if s.has("remote") && !s.has("keep") {
            let remedy =
                "write keep = \"state/remote.redb\": what is known of other regions outlives a restart there";
            s.wrong("keep", "is missing, but [[cluster.remote]] is there", remedy);
        } else if s.has("keep") && !s.has("remote") {
            s.wrong(
                "keep",
                "there is no other region to keep the state of",
                "remove it, or add [[cluster.remote]]",
            );
        }
        let foreign = |s: &mut Section<'_>, keys: &[&str]| {
            for key in keys.iter().filter(|key| s.has(key)).collect::<Vec<_>>() {
                let what = format!("does not belong to store = \"{}\"", name.as_str());
                s.wrong(key, what, "remove it, or change the store");
            }
        };
        let store = match name {
            StoreName::Embedded => {
                foreign(s, &ETCD_KEYS);
                ignore_etcd(s);
                StoreSection::Embedded { path: s.required("path")? }
            }
            StoreName::Etcd => {
                foreign(s, &["path"]);
                s.optional::<PathBuf>("path");
                StoreSection::Etcd(etcd(s)?)
            }
        };
        Some(Cluster { region: region?, store, remotes, keep })
    }
}

impl Read for Remote {
    fn read(s: &mut Section<'_>, index: usize) -> Option<Remote> {
        let region = s.required("region");
        let etcd = etcd(s);
        Some(Remote { index, region: region?, etcd: etcd? })
    }
}

/// Keys that were said to be foreign are not unknown besides.
fn ignore_etcd(s: &mut Section<'_>) {
    s.optional::<Vec<Endpoint>>("endpoints");
    for key in ["ca", "cert", "key", "password_file"] {
        s.optional::<PathBuf>(key);
    }
    s.optional::<User>("user");
}

fn etcd(s: &mut Section<'_>) -> Option<EtcdSection> {
    let endpoints: Option<Vec<Endpoint>> = s.required("endpoints");
    let ca: Option<PathBuf> = s.optional("ca");
    let (cert, key) = (s.optional::<PathBuf>("cert"), s.optional::<PathBuf>("key"));
    let (user, password) = (s.optional::<User>("user"), s.optional::<PathBuf>("password_file"));
    for (one, other) in
        [("cert", "key"), ("key", "cert"), ("user", "password_file"), ("password_file", "user")]
    {
        if s.has(one) && !s.has(other) {
            s.wrong(other, format!("is missing, but {one} is there"), format!("write both, or remove {one}"));
        }
    }
    let endpoints = endpoints?;
    if endpoints.is_empty() || endpoints.len() > 9 {
        s.wrong("endpoints", "names no member, or more than 9", "name the members' client URLs");
    }
    let tls = endpoints.iter().any(Endpoint::tls);
    if tls && endpoints.iter().any(|endpoint| !endpoint.tls()) {
        s.wrong("endpoints", "some members are in clear", "write https:// for each");
    }
    if tls && !s.has("ca") {
        let remedy = "write ca = \"pki/etcd-ca.pem\", the authority of the members' certificates";
        s.wrong("ca", "is missing, but endpoints are https", remedy);
    }
    for key in ["ca", "cert", "user"].into_iter().filter(|_| !tls) {
        if s.has(key) {
            s.wrong(key, "is of no use in clear", "write https:// in endpoints, or remove it");
        }
    }
    Some(EtcdSection { endpoints, ca, identity: cert.zip(key), login: user.map(|user| user.0).zip(password) })
}

/// A name that etcd knows somebody by.
struct User(String);

text!(User, "foreshift", |text| {
    if text.is_empty() || text.chars().any(char::is_control) {
        let what = "is not the name of a user".to_owned();
        return Err((what, "write the name as etcd knows it, such as \"foreshift\"".to_owned()));
    }
    Ok(User(text.to_owned()))
});

impl Cluster {
    /// Every file it names, to be resolved.
    pub fn paths(&mut self) -> Vec<&mut PathBuf> {
        let (own, etcd) = match &mut self.store {
            StoreSection::Embedded { path } => (Some(path), None),
            StoreSection::Etcd(etcd) => (None, Some(etcd)),
        };
        let etcds = etcd.into_iter().chain(self.remotes.iter_mut().map(|remote| &mut remote.etcd));
        etcds.flat_map(EtcdSection::paths).chain(own).chain(&mut self.keep).collect()
    }
}

impl Cluster {
    /// The files that etcd's clients need, with their TOML paths.
    pub fn files(&self) -> Vec<(String, &PathBuf)> {
        let own = match &self.store {
            StoreSection::Etcd(etcd) => Some(("cluster".to_owned(), etcd)),
            StoreSection::Embedded { .. } => None,
        };
        let remotes = self.remotes.iter().map(|r| (format!("cluster.remote[{}]", r.index), &r.etcd));
        own.into_iter().chain(remotes).flat_map(|(path, etcd)| etcd.files(&path)).collect()
    }
}

impl EtcdSection {
    fn files(&self, path: &str) -> Vec<(String, &PathBuf)> {
        let identity = self.identity.iter().flat_map(|(cert, key)| [("cert", cert), ("key", key)]);
        let password = self.login.iter().map(|(_, password)| ("password_file", password));
        let all = self.ca.iter().map(|ca| ("ca", ca)).chain(identity).chain(password);
        all.map(|(key, file)| (format!("{path}.{key}"), file)).collect()
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let identity = self.identity.iter_mut().flat_map(|(cert, key)| [cert, key]);
        let password = self.login.iter_mut().map(|(_, password)| password);
        self.ca.iter_mut().chain(identity).chain(password).collect()
    }
}
