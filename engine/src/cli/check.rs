//! `foreshift check`

use crate::config::Config;
use crate::host;
use crate::plan::{Plan, PortPlan};
use crate::routes::Targets;
use std::path::Path;
use std::process::ExitCode;

/// Prints every error, or what the file amounts to.
pub fn run(path: &Path) -> ExitCode {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    for doubt in config.warnings() {
        eprintln!("{}: warning: {doubt}", path.display());
    }
    let plan = Plan::from_config(&config);
    let routes = match plan.routes_file.as_deref().map(|file| Targets::new(&plan.forwarding).load(file)) {
        Some(Err(error)) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
        Some(Ok(batch)) => format!("\n  {} routes in routing.file", batch.changes.len()),
        None => String::new(),
    };
    println!("{}: ok\n{}{routes}", path.display(), summary(&plan));
    ExitCode::SUCCESS
}

/// Which worker polls what, from which buffers.
fn placement(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for (worker, core) in plan.workers.iter().enumerate() {
        let queue = |port: &PortPlan| match worker < usize::from(port.config.rx_queues) {
            true => format!("{} queue {worker}", port.name),
            false => format!("{} by handoff", port.name),
        };
        let queues: Vec<String> = plan.ports.iter().map(queue).collect();
        let socket =
            host::socket_of_core(*core).map(|socket| format!(" (socket {socket})")).unwrap_or_default();
        lines.push(format!("  worker {worker} on core {core}{socket}: {}", queues.join(", ")));
    }
    for port in &plan.ports {
        let (rx, tx, workers) = (port.config.rx_queues, port.config.tx_queues, plan.workers.len());
        let spread = match (usize::from(rx), workers) {
            (_, 1) => "",
            (rx, workers) if rx >= workers => ", flows spread by the port",
            _ => ", flows handed over by flow hash and SA",
        };
        let (name, device, mtu) = (&port.name, &port.config.device, port.config.mtu);
        lines.push(format!("  port {name}: {device}, mtu {mtu}, {rx} rx and {tx} tx queue(s){spread}"));
    }
    let buffers = |pool: &dpdk::PoolConfig| format!("{} of {} bytes", pool.packets, pool.data_room);
    let jumbo = plan.jumbo.iter().map(|pool| format!(", {} for larger frames", buffers(pool)));
    lines.push(format!(
        "  buffers on each socket in use: {}{}",
        buffers(&plan.pool),
        jumbo.collect::<String>()
    ));
    lines
}

/// What would run, a line a thing.
pub fn summary(plan: &Plan) -> String {
    let mut lines =
        vec![format!("  engine {} of site {}, {} worker(s)", plan.name, plan.site, plan.workers.len())];
    lines.extend(placement(plan));
    for (interface, name) in plan.forwarding.interfaces.iter().zip(&plan.interface_names) {
        let vlan = interface.vlan.map(|vlan| format!(" vlan {vlan}")).unwrap_or_default();
        let addresses: Vec<String> = interface.addresses.iter().map(ToString::to_string).collect();
        let port = &plan.ports[interface.port.index()].name;
        lines.push(format!("  interface {name} on {port}{vlan}: {}", addresses.join(" ")));
    }
    for (tunnel, about) in plan.forwarding.tunnels.iter().zip(&plan.tunnels) {
        let out = &plan.interface_names[tunnel.interface.index()];
        lines.push(format!(
            "  tunnel {}: {} {} -> {} ({}) by {} out of {out}, inner mtu {}",
            about.name, about.protocol, tunnel.local, tunnel.remote, about.peer, tunnel.next_hop, tunnel.mtu
        ));
    }
    lines.join("\n")
}
