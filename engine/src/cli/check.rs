//! `foreshift check`

use crate::config::Config;
use crate::plan::Plan;
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

/// What would run, a line a thing.
pub fn summary(plan: &Plan) -> String {
    let mut lines =
        vec![format!("  engine {} of site {}, {} worker(s)", plan.name, plan.site, plan.workers.len())];
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
