//! What is doubtful on this machine: it may be right on the one that will run it.

use super::Config;
use super::cluster::Cluster;
use super::model::{Idle, RouteTarget};
use super::problem::Problem;
use super::wireguard::WireGuard;
use std::num::NonZero;
use std::path::Path;

/// Doubts, in the order of the schema.
pub fn warnings(config: &Config) -> Vec<Problem> {
    let mut doubts = cores(config);
    doubts.extend(buffers(config));
    for group in &config.groups {
        let leads = |target: &RouteTarget| matches!(target, RouteTarget::Group(name) if *name == group.name);
        if !config.routes.iter().any(|route| leads(&route.target)) {
            let remedy = format!("add a [[route]] with group = \"{}\"", group.name);
            doubts.push(Problem::new(format!("group[{}]", group.index), "no route leads to it", remedy));
        }
    }
    for peer in &config.peers {
        if config.control.is_none() && peer.address.is_some() {
            let remedy = "write a [control] section, or remove the peer";
            doubts.push(Problem::new(
                format!("peer[{}]", peer.index),
                "is never connected to without [control]",
                remedy,
            ));
        }
    }
    doubts.extend(files(config));
    if let Some(path) = &config.debug.export_esp_keys {
        let what = format!("live ESP keys will be written to {}", path.display());
        doubts.push(Problem::new("debug.export_esp_keys", what, "remove it outside of a lab"));
    }
    if config.debug.faults {
        let what = "anybody who may open the API socket can make this engine fail";
        doubts.push(Problem::new("debug.faults", what, "remove it outside of a lab"));
    }
    doubts
}

fn cores(config: &Config) -> Vec<Problem> {
    let mut doubts = Vec::new();
    let dpdk = &config.dpdk;
    let machine = std::thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let named = dpdk.cores.iter().chain(&dpdk.control_core).map(|core| core.get());
    if let Some(core) = named.filter(|core| *core >= machine).max() {
        let what = format!("core {core} is named, but this process may use {machine} here");
        doubts.push(Problem::new("dpdk.cores", what, "name cores of the machine that will run it"));
    }
    let shared = |at: usize| {
        dpdk.cores[at + 1..].contains(&dpdk.cores[at]) || dpdk.control_core == Some(dpdk.cores[at])
    };
    if dpdk.idle == Idle::Spin
        && let Some(at) = (0..dpdk.cores.len()).find(|at| shared(*at))
    {
        let what =
            format!("core {} is shared, but its worker spins and leaves it to nobody", dpdk.cores[at].get());
        doubts.push(Problem::new("dpdk.idle", what, "write idle = { mode = \"backoff\", sleep_us = 50 }"));
    }
    doubts
}

/// A pool's ring has a power of two of places and holds one less.
fn buffers(config: &Config) -> Option<Problem> {
    let mbufs = config.dpdk.mbufs.get();
    let better = (mbufs + 1).next_power_of_two() - 1;
    (mbufs != better).then(|| {
        let what = format!("{mbufs} packet buffers take the room of {better} in their pool's ring");
        Problem::new(
            "dpdk.mbufs",
            what,
            format!("write one less than a power of two: {} or {better}", better / 2),
        )
    })
}

fn files(config: &Config) -> Vec<Problem> {
    let mut doubts = Vec::new();
    let mut file = |path: &str, file: &Path, remedy: &str| {
        if !file.is_file() {
            doubts.push(Problem::new(path, format!("there is no file {}", file.display()), remedy));
        }
    };
    if let Some(control) = &config.control {
        let remedy = "put it there before the engine starts; `foreshift pki` makes a lab's";
        file("control.ca", &control.ca, remedy);
        file("control.cert", &control.cert, remedy);
        file("control.key", &control.key, remedy);
    }
    for (path, name) in config.cluster.iter().flat_map(Cluster::files) {
        file(&path, name, "put it there before the engine starts; until then the state store counts as lost");
    }
    for tunnel in &config.tunnels {
        for (key, path) in tunnel.protocol.wireguard().into_iter().flat_map(WireGuard::files) {
            let remedy = "put a key of `wg genkey` or `wg genpsk` there before the engine starts";
            file(&format!("tunnel[{}].wireguard.{key}", tunnel.index), path, remedy);
        }
        let Some(sa) = tunnel.protocol.static_sa() else { continue };
        for (key, path) in [("key_file_in", &sa.key_file_in), ("key_file_out", &sa.key_file_out)] {
            let remedy = "put the key and the salt there in hexadecimal before the engine starts";
            file(&format!("tunnel[{}].static_sa.{key}", tunnel.index), path, remedy);
        }
    }
    for (path, name) in config.cluster.iter().flat_map(Cluster::files) {
        file(&path, name, "put it there before the engine starts; until then the state store counts as lost");
    }
    if let Some(model) = &config.prediction.model {
        file("prediction.model", model, "train one, or remove the key for the built-in model");
    }
    doubts
}
