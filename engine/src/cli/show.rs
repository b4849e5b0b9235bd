//! `foreshift show`: the status structs as JSON, or as tables for a person.

use super::Engine;
use super::shifts::{self, Shifts};
use super::table::Table;
use super::{access, cluster, mirror, shadow, switchover};
use crate::api::Request;
use crate::api::status::*;
use crate::api::switchover::CheckState;
use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::io::Write as _;

#[derive(Debug, Args)]
pub struct Arguments {
    #[arg(value_enum)]
    what: What,
    #[command(flatten)]
    engine: Engine,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Role, prediction, how traffic is split
    Status,
    /// Ports and their counters
    Ports,
    /// Tunnels and their quality
    Tunnels,
    /// Workers, their load and latency
    Workers,
    /// Where every packet went
    Drops,
    /// The shift under way, and how buckets moved
    Shifts,
    /// The switchover under way or the last one, stage by stage
    Switchover,
    /// Application checks, as both engines of the site see them
    Checks,
    /// Neighbours that are watched by BFD
    Bfd,
    /// The election of the gateway by VRRP
    Vrrp,
    /// What was decided, and why
    Decisions,
    /// The state store, and what engines share there
    Cluster,
    /// Mirrored traffic, and whether both engines of the site would treat it alike
    Mirror,
    /// Sessions, of all workers
    Sessions,
    /// Who holds this engine's sessions, and whose it holds
    Shadow,
    /// The access list
    Acl,
    /// Address translation
    Nat,
}

/// Asks and prints.
pub fn run(arguments: &Arguments) -> Result<()> {
    let text = match arguments.what {
        What::Status => ask(arguments, &Request::Status, status)?,
        What::Ports => ask(arguments, &Request::Ports, |p: &Vec<PortStatus>| ports(p))?,
        What::Tunnels => ask(arguments, &Request::Tunnels, |t: &Vec<TunnelStatus>| tunnels(t))?,
        What::Workers => ask(arguments, &Request::Workers, |w: &Vec<WorkerStatus>| workers(w))?,
        What::Drops => ask(arguments, &Request::Drops, drops)?,
        What::Shifts => part(arguments, |status| Shifts::of(&status), shifts::shifts)?,
        What::Switchover => {
            part(arguments, |status| status.switchover, |s| switchover::switchover(s.as_ref()))?
        }
        What::Checks => part(arguments, |status| status.checks, |checks| switchover::checks(checks))?,
        What::Bfd => part(arguments, |status| status.bfd, |sessions| bfd(sessions))?,
        What::Vrrp => part(arguments, |status| status.vrrp, |elections| vrrp(elections))?,
        What::Decisions => ask(arguments, &Request::Decisions, |d: &Vec<Decision>| decisions(d))?,
        What::Cluster => ask(arguments, &Request::Cluster, cluster::cluster)?,
        What::Mirror => ask(arguments, &Request::Mirror, mirror::mirror)?,
        What::Sessions => access(arguments, |access| access.sessions, access::sessions)?,
        What::Shadow => part(arguments, |status| status.shadow, |s| shadow::shadow(s.as_ref()))?,
        What::Acl => access(arguments, |access| access.acl, access::acl)?,
        What::Nat => access(arguments, |access| access.nat, access::nat)?,
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // `| head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn ask<T>(arguments: &Arguments, request: &Request, human: impl Fn(&T) -> String) -> Result<String>
where
    T: Serialize + DeserializeOwned,
{
    let answer: T = arguments.engine.ask(request)?;
    if arguments.json {
        return Ok(format!("{}\n", serde_json::to_string_pretty(&answer)?));
    }
    Ok(human(&answer))
}

/// One part of the access that the engine gives; `None` where it has no such part.
fn access<T: Serialize>(
    arguments: &Arguments,
    part: impl Fn(AccessStatus) -> Option<T>,
    human: impl Fn(Option<&T>) -> String,
) -> Result<String> {
    self::part(arguments, |status| part(status.access), |part| human(part.as_ref()))
}

/// A part of what the engine says of itself.
fn part<T: Serialize>(
    arguments: &Arguments,
    part: impl Fn(Status) -> T,
    human: impl Fn(&T) -> String,
) -> Result<String> {
    let part = part(arguments.engine.ask(&Request::Status)?);
    if arguments.json {
        return Ok(format!("{}\n", serde_json::to_string_pretty(&part)?));
    }
    Ok(human(&part))
}

/// The engine at a glance.
pub fn status(s: &Status) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: String| {
        let _ = writeln!(out, "{key:<12} {value}");
    };
    let yes = |flag: bool, yes: &str, no: &str| if flag { yes.to_owned() } else { no.to_owned() };
    line("engine", format!("{} of site {}, {}", s.name, s.site, yes(s.ready, "ready", "not ready")));
    line("uptime", duration(s.uptime_ms));
    let role = match s.role {
        Role::Active => "active",
        Role::Standby => "standby",
        Role::Unowned => "site has no owner",
    };
    let owner = s.site_owner.as_ref().map(|owner| format!(", owner {owner}")).unwrap_or_default();
    line("role", format!("{role}, epoch {}{owner}", s.epoch));
    line("forwarding", yes(s.forwarding, "yes", "no: its lease has run out"));
    if let Some(config) = &s.config {
        let told = crate::site::told(&config.relation, None);
        let alarm = config.alarm.as_ref().map(|alarm| format!("; ALARM: {alarm}")).unwrap_or_default();
        line("config", format!("generation {}, {told}{alarm}", config.generation));
    }
    line("peers up", if s.peers_up.is_empty() { "none".to_owned() } else { s.peers_up.join(" ") });
    let probability =
        s.probability.map_or("no opinion".to_owned(), |p| format!("{p:.3} within {} ms", s.horizon_ms));
    let mode = match s.mode {
        Mode::Observe => "observe",
        Mode::Approve => "approve",
        Mode::Auto => "auto",
    };
    line(
        "prediction",
        format!("{probability}, threshold {:.3}, drift {:.3}, mode {mode}", s.threshold, s.drift),
    );
    let drivers: Vec<String> =
        s.drivers.iter().take(3).map(|d| format!("{} {:.2}", d.metric, d.weight)).collect();
    if !drivers.is_empty() {
        line("driven by", drivers.join(", "));
    }
    let peer = yes(s.peer_alarm, " (and at the other engine)", "");
    line("alarm", format!("{}{peer}", yes(s.alarm, "RAISED", "none")));
    line("switchover", s.switchover.as_ref().map_or("none".to_owned(), switchover::towards));
    let failing = s.checks.iter().filter(|check| check.here.state == CheckState::Failing);
    let failing: Vec<&str> = failing.map(|check| check.name.as_str()).collect();
    if !failing.is_empty() {
        line("checks", format!("FAILING: {}", failing.join(" ")));
    }
    if let Some(store) = &s.store {
        line("state store", cluster::store(store));
    }
    line("generation", s.generation.to_string());
    line("crypto", format!("{}: {}", s.crypto, s.crypto_why));
    let mut groups = Table::new(&["group", "site", "tunnel", "peer", "share %", "buckets", "tx packets"]);
    for group in &s.groups {
        for m in &group.members {
            let names = [&group.name, &group.site, &m.tunnel, &m.peer].map(Clone::clone);
            let [group, site, tunnel, peer] = names;
            let share = format!("{:.2}", m.share * 100.0);
            groups.row([group, site, tunnel, peer, share, m.buckets.to_string(), m.tx_packets.to_string()]);
        }
    }
    let adaptive = s.groups.iter().filter_map(|group| Some((&group.name, group.adaptive.as_ref()?)));
    let adaptive: String = adaptive.map(|(name, a)| self::adaptive(name, a)).collect();
    format!("{out}\n{}{adaptive}", groups.render("no tunnel groups"))
}

/// What an adaptive group carries beside what it could, and what was done about it, in a line.
fn adaptive(name: &str, a: &AdaptiveStatus) -> String {
    let mbps = |bps: f64| format!("{:.1} Mbit/s", bps / 1e6);
    let of = |bps: Option<f64>, or: &str| bps.map_or(or.to_owned(), mbps);
    let AdaptiveActions { created, rates, migrated, drained } = a.actions;
    format!(
        "{name}: {} of {}, forecast {}; tunnels {created} made, {drained} given up, rates {rates}, migrations {migrated}\n",
        mbps(a.offered_bps),
        of(a.capacity_bps, "no bound"),
        of(a.forecast_bps, "none yet"),
    )
}

/// `1d 02h 03m`, `4m 05s`, `6.7 s`.
pub fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{:.1} s", ms as f64 / 1000.0),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d {:02}h {:02}m", s / 86_400, s / 3600 % 24, s / 60 % 60),
    }
}

fn or_dash(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.1}"))
}

/// A line a port.
pub fn ports(ports: &[PortStatus]) -> String {
    let mut table = Table::new(&[
        "port",
        "device",
        "link",
        "Mbit/s",
        "mtu",
        "rx packets",
        "tx packets",
        "missed",
        "rx errors",
        "tx errors",
        "no mbuf",
    ]);
    for p in ports {
        table.row([
            p.name.clone(),
            p.device.clone(),
            if p.up { "up" } else { "down" }.to_owned(),
            p.speed_mbps.map_or("-".to_owned(), |speed| speed.to_string()),
            p.mtu.to_string(),
            p.rx_packets.to_string(),
            p.tx_packets.to_string(),
            p.rx_missed.to_string(),
            p.rx_errors.to_string(),
            p.tx_errors.to_string(),
            p.rx_no_mbuf.to_string(),
        ]);
    }
    table.render("no ports")
}

/// A line a session.
fn bfd(sessions: &[BfdStatus]) -> String {
    let mut table = Table::new(&["name", "interface", "neighbor", "state", "why", "ms", "missed", "tunnels"]);
    for s in sessions {
        table.row([
            s.name.clone(),
            s.interface.clone(),
            s.remote.to_string(),
            s.state.clone(),
            s.diagnostic.clone(),
            s.interval_ms.to_string(),
            s.multiplier.to_string(),
            s.tunnels.join(" "),
        ]);
    }
    table.render("no BFD sessions")
}

/// A line an IP version.
fn vrrp(elections: &[VrrpStatus]) -> String {
    let mut table =
        Table::new(&["interface", "vrid", "address", "state", "priority", "gateway", "its priority"]);
    for e in elections {
        let (gateway, priority) =
            e.other.map_or(Default::default(), |(ip, p)| (ip.to_string(), p.to_string()));
        let state = format!("{:?}", e.state).to_lowercase();
        let (vrid, own) = (e.vrid.to_string(), e.priority.to_string());
        table.row([e.interface.clone(), vrid, e.local.to_string(), state, own, gateway, priority]);
    }
    table.render("the gateway is not elected for: no [gateway.vrrp]")
}

/// A line a tunnel.
pub fn tunnels(tunnels: &[TunnelStatus]) -> String {
    let mut table = Table::new(&[
        "tunnel",
        "protocol",
        "state",
        "peer",
        "local",
        "remote",
        "mtu",
        "rtt us",
        "jitter us",
        "loss tx %",
        "loss rx %",
        "tx packets",
        "rx packets",
        "buckets",
    ]);
    for t in tunnels {
        let state = match t.state {
            TunnelState::Proposed => "proposed",
            TunnelState::Probing => "probing",
            TunnelState::Up => "up",
            TunnelState::Draining => "draining",
            TunnelState::Down => "down",
        };
        table.row([
            t.name.clone(),
            t.algorithm.as_ref().map_or_else(|| t.protocol.clone(), |aead| format!("{} {aead}", t.protocol)),
            format!("{state}{}", if t.fenced { ", fenced" } else { "" }),
            t.peer.clone(),
            t.local.to_string(),
            t.remote.to_string(),
            t.mtu.to_string(),
            or_dash(t.rtt_us),
            or_dash(t.jitter_us),
            format!("{:.2}", t.loss_tx * 100.0),
            format!("{:.2}", t.loss_rx * 100.0),
            t.tx_packets.to_string(),
            t.rx_packets.to_string(),
            t.buckets.to_string(),
        ]);
    }
    let problems = tunnels.iter().filter_map(|t| Some(format!("{}: {}\n", t.name, t.problem.as_ref()?)));
    table.render("no tunnels") + &problems.collect::<String>() + &wireguard(tunnels) + &shapers(tunnels)
}

/// A line a WireGuard peer; nothing where there is none.
fn wireguard(tunnels: &[TunnelStatus]) -> String {
    if tunnels.iter().all(|t| t.wireguard.is_none()) {
        return String::new();
    }
    let mut table =
        Table::new(&["peer of", "public key", "port", "last handshake s", "tx keepalives", "rx keepalives"]);
    for (tunnel, peer) in tunnels.iter().filter_map(|t| Some((t, t.wireguard.as_ref()?))) {
        table.row([
            tunnel.name.clone(),
            peer.public_key.clone(),
            peer.remote_port.to_string(),
            or_dash(peer.last_handshake_s),
            peer.tx_keepalives.to_string(),
            peer.rx_keepalives.to_string(),
        ]);
    }
    format!("\n{}", table.render(""))
}

/// A line a class of a shaper; nothing where there is none.
fn shapers(tunnels: &[TunnelStatus]) -> String {
    let mut table = Table::new(&["shaper of", "kbit/s", "class", "at most kbit/s", "waited", "dropped"]);
    let mut any = false;
    for (tunnel, shaper) in tunnels.iter().filter_map(|t| Some((t, t.shaper.as_ref()?))) {
        for class in &shaper.classes {
            any = true;
            table.row([
                tunnel.name.clone(),
                shaper.rate_kbps.to_string(),
                class.name.clone(),
                class.rate_kbps.map_or_else(|| "-".to_owned(), |rate| rate.to_string()),
                class.waited.to_string(),
                class.dropped.to_string(),
            ]);
        }
    }
    if any { format!("\n{}", table.render("")) } else { String::new() }
}

/// A line a worker.
pub fn workers(workers: &[WorkerStatus]) -> String {
    let mut table = Table::new(&[
        "worker",
        "core",
        "busy %",
        "received",
        "transmitted",
        "p50 us",
        "p99 us",
        "poll gap us",
        "pool in use",
        "pool size",
    ]);
    for w in workers {
        table.row([
            w.id.to_string(),
            w.core.to_string(),
            format!("{:.1}", w.busy_share * 100.0),
            w.received.to_string(),
            w.transmitted.to_string(),
            or_dash(w.residence_p50_us),
            or_dash(w.residence_p99_us),
            format!("{:.1}", w.poll_gap_max_us),
            w.pool_in_use.to_string(),
            w.pool_size.to_string(),
        ]);
    }
    table.render("no workers")
}

/// The account of all packets.
pub fn drops(d: &DropsStatus) -> String {
    let mut account = Table::new(&["packets", "count"]);
    let lines = [
        ("received", d.received),
        ("originated", d.originated),
        ("transmitted", d.transmitted),
        ("dropped", d.dropped_total()),
        ("held", d.held),
    ];
    lines.into_iter().for_each(|(name, count)| account.row([name.to_owned(), count.to_string()]));
    account.row(["unaccounted for".to_owned(), d.balance.to_string()]);
    let mut reasons = Table::new(&["dropped for", "count"]);
    d.dropped.iter().for_each(|(reason, count)| reasons.row([reason.clone(), count.to_string()]));
    let mut pools = Table::new(&["pool", "size", "in use"]);
    d.pools.iter().for_each(|p| pools.row([p.name.clone(), p.size.to_string(), p.in_use.to_string()]));
    [account.render(""), reasons.render("nothing dropped"), pools.render("no pools")].join("\n")
}

/// A paragraph a decision, oldest first.
pub fn decisions(decisions: &[Decision]) -> String {
    if decisions.is_empty() {
        return "no decisions yet\n".to_owned();
    }
    let one = |d: &Decision| {
        let outcome = serde_json::to_value(d.outcome).ok();
        let outcome = outcome.as_ref().and_then(|v| v.as_str()).unwrap_or_default().replace('_', " ");
        let inputs: Vec<String> = d.inputs.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let at = d.at.as_millis() as f64 / 1000.0;
        format!(
            "#{} at {at:.3} s: {} ({outcome})\n   rule: {}\n   from: {}\n",
            d.id,
            d.action,
            d.rule,
            inputs.join(", ")
        )
    };
    decisions.iter().map(one).collect()
}
