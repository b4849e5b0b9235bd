//! The status structs in Prometheus' text format 0.0.4. Names are `foreshift_*`, units last, counters
//! `_total`; seconds and bytes, as Prometheus wants them.

use super::mirror::{MirrorReport, MirrorStatus};
use super::shadow::{ShadowStatus, ShadowTarget};
use super::site::ConfigStatus;
use super::status::*;
use super::switchover::{CheckState, Stage};
use control::replication::Relation;
use control::vrrp::VrrpState;
use std::fmt::{Display, Write};

/// Everything that is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The engine.
    pub status: Status,
    /// By port.
    pub ports: Vec<PortStatus>,
    /// By tunnel.
    pub tunnels: Vec<TunnelStatus>,
    /// By worker.
    pub workers: Vec<WorkerStatus>,
    /// Where every packet went.
    pub drops: DropsStatus,
    /// What is mirrored, if anything may be.
    pub mirror: Option<MirrorStatus>,
}

/// The page.
pub fn text(report: &Report) -> String {
    let mut page = Page(String::new());
    engine(&mut page, &report.status);
    groups(&mut page, &report.status.groups);
    adaptive(&mut page, &report.status.groups);
    switchover(&mut page, &report.status);
    moves(&mut page, &report.status.moves);
    let up = ("gauge", "bfd_up", "The neighbour answers.");
    page.each(up, &report.status.bfd, |s| (s.name.clone(), Some(u8::from(s.state == "up"))), "session");
    let active = ("gauge", "vrrp_active", "This engine is the gateway by election.");
    let is_active = |e: &VrrpStatus| u8::from(e.state == VrrpState::Active);
    page.each(active, &report.status.vrrp, |e| (e.local.to_string(), Some(is_active(e))), "address");
    ports(&mut page, &report.ports);
    tunnels(&mut page, &report.tunnels);
    shapers(&mut page, &report.tunnels);
    workers(&mut page, &report.workers);
    packets(&mut page, &report.drops);
    if let Some(status) = &report.mirror {
        mirror(&mut page, status);
    }
    page.0
}

type Labels<'a> = &'a [(&'a str, &'a str)];

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> Family<'_> {
        // A String takes all that is written.
        let _ = writeln!(self.0, "# HELP foreshift_{name} {help}\n# TYPE foreshift_{name} {kind}");
        Family { name: name.to_owned(), page: &mut self.0 }
    }

    fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        debug_assert!(name.ends_with("_total"));
        self.family(name, "counter", help)
    }

    /// One family with a sample for each thing; things without a value have none.
    fn each<T, V: Display>(
        &mut self,
        (kind, name, help): (&str, &str, &str),
        things: &[T],
        sample: impl Fn(&T) -> (String, Option<V>),
        label: &str,
    ) {
        let mut family = self.family(name, kind, help);
        for thing in things {
            if let (of, Some(value)) = sample(thing) {
                family.sample(&[(label, &of)], value);
            }
        }
    }
}

struct Family<'a> {
    name: String,
    page: &'a mut String,
}

impl Family<'_> {
    fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.page, "foreshift_{}{labels} {value}", self.name);
    }
}

/// Label values escape the backslash, the quote and the line feed.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn engine(page: &mut Page, status: &Status) {
    let mode = match status.mode {
        Mode::Observe => "observe",
        Mode::Approve => "approve",
        Mode::Auto => "auto",
    };
    let labels = [("name", status.name.as_str()), ("site", &status.site), ("mode", mode)];
    page.gauge("info", "This engine; always 1.").sample(&labels, 1);
    page.gauge("ready", "1 if it can carry traffic.").sample(&[], u8::from(status.ready));
    page.gauge("uptime_seconds", "Time since start.").sample(&[], seconds(status.uptime_ms));
    page.gauge("owner", "1 if it owns its site's gateway addresses.").sample(&[], u8::from(status.owner));
    page.gauge("forwarding", "1 if its lease lets it forward.").sample(&[], u8::from(status.forwarding));
    page.gauge("epoch", "Highest epoch of leadership known for the site.").sample(&[], status.epoch);
    page.gauge("generation", "Configuration that the workers run.").sample(&[], status.generation);
    if let Some(probability) = status.probability {
        page.gauge("failure_probability_ratio", "P(failure within the horizon).").sample(&[], probability);
    }
    page.gauge("failure_threshold_ratio", "What the probability x SLA weight is held against.")
        .sample(&[], status.threshold);
    page.gauge("drift_ratio", "Drift from the engine's own baseline.").sample(&[], status.drift);
    page.gauge("alarm", "1 while the prediction alarm is raised.").sample(&[], u8::from(status.alarm));
    let moving = status.switchover.as_ref().is_some_and(|switchover| switchover.moving);
    page.gauge("shift_active", "1 while traffic is being shifted.").sample(&[], u8::from(moving));
    access(page, &status.access);
    if let Some(store) = &status.store {
        page.gauge("store_ready", "1 while the state store answers.").sample(&[], u8::from(store.ready));
    }
    if let Some(config) = &status.config {
        configuration(page, config);
    }
    if let Some(shadow) = &status.shadow {
        shadowing(page, shadow);
    }
    let mut peers = page.gauge("peer_connected", "1 for each engine whose control connection is up.");
    status.peers_up.iter().for_each(|peer| peers.sample(&[("peer", peer)], 1));
}

fn access(page: &mut Page, access: &AccessStatus) {
    if let Some(acl) = &access.acl {
        page.gauge("acl_rules", "Rules of the access list.").sample(&[], acl.rules);
    }
    if let Some(sessions) = &access.sessions {
        page.gauge("sessions", "Live sessions.").sample(&[], sessions.live);
        page.gauge("sessions_capacity", "Most live sessions.").sample(&[], sessions.capacity);
        page.counter("sessions_begun_total", "Sessions begun.").sample(&[], sessions.begun);
        page.counter("sessions_evicted_total", "Sessions ended to make room.").sample(&[], sessions.evicted);
    }
    if let Some(nat) = &access.nat {
        page.gauge("nat_ports_in_use", "Outside ports given out.").sample(&[], nat.ports_in_use);
    }
}

fn configuration(page: &mut Page, config: &ConfigStatus) {
    let is = |flag: bool| u8::from(flag);
    let declined = matches!(
        &config.relation,
        Relation::Ahead { declined } | Relation::Behind { declined } if !declined.is_empty()
    );
    page.gauge("config_generation", "What the site's engines run alike.").sample(&[], config.generation);
    let gauges = [
        (
            "config_in_sync",
            "1 if the other engine of the site has the same.",
            config.relation == Relation::InSync,
        ),
        ("config_conflict", "1 if both were changed while apart.", config.relation == Relation::Conflict),
        ("config_declined", "1 if one engine cannot take what the other has.", declined),
        ("config_damaged", "1 if a kept generation was damaged at the start.", config.alarm.is_some()),
    ];
    for (name, help, flag) in gauges {
        page.gauge(name, help).sample(&[], is(flag));
    }
    page.counter("config_malformed_total", "Configurations that the other engine should not have sent.")
        .sample(&[], config.malformed);
}

fn shadowing(page: &mut Page, shadow: &ShadowStatus) {
    type Gauge = fn(&ShadowTarget) -> Option<f64>;
    let gauges: [(&str, &str, Gauge); 4] = [
        ("shadow_in_sync", "1 if a shadow misses nothing but what is on its way.", |to| {
            Some(f64::from(u8::from(to.in_sync)))
        }),
        ("shadow_pending", "Changes on their way to a shadow.", |to| Some(to.pending as f64)),
        ("shadow_lag_p50_seconds", "From a change to its acknowledgement, median.", |to| {
            to.lag_p50_us.map(|us| us as f64 / 1e6)
        }),
        ("shadow_lag_p99_seconds", "From a change to its acknowledgement, 99th percentile.", |to| {
            to.lag_p99_us.map(|us| us as f64 / 1e6)
        }),
    ];
    for (name, help, value) in gauges {
        page.each(("gauge", name, help), &shadow.to, |to| (to.engine.clone(), value(to)), "shadow");
    }
    let acknowledged = ("counter", "shadow_changes_total", "Changes that a shadow has acknowledged.");
    page.each(acknowledged, &shadow.to, |to| (to.engine.clone(), Some(to.acknowledged)), "shadow");
    let lost = "Reports of workers that found no room; a round makes up for them.";
    page.counter("shadow_reports_lost_total", lost).sample(&[], shadow.reports_lost);
    page.counter("shadow_rounds_total", "Times that everything was said once more.")
        .sample(&[], shadow.rounds);
    page.counter("shadow_copied_total", "Sessions of other engines installed.").sample(&[], shadow.copied);
    page.counter("shadow_adopted_total", "Of them, those that went on here.").sample(&[], shadow.adopted);
    page.counter("shadow_refused_total", "Of them, those without room here.").sample(&[], shadow.refused);
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}

fn groups(page: &mut Page, groups: &[GroupStatus]) {
    let mut family = page.gauge("group_share_ratio", "Part of a group's buckets that a tunnel is to have.");
    for group in groups {
        for member in &group.members {
            let labels = [("group", group.name.as_str()), ("site", &group.site), ("tunnel", &member.tunnel)];
            family.sample(&labels, member.share);
        }
    }
}

/// Groups whose tunnels follow their traffic.
fn adaptive(page: &mut Page, groups: &[GroupStatus]) {
    type Gauge = fn(&AdaptiveStatus) -> Option<f64>;
    let groups: Vec<_> = groups.iter().filter_map(|g| Some((&g.name, g.adaptive.as_ref()?))).collect();
    let gauges: [(&str, &str, Gauge); 3] = [
        ("group_offered_bits_per_second", "What went into a group's tunnels.", |a| Some(a.offered_bps)),
        ("group_capacity_bits_per_second", "What their shapers let through.", |a| a.capacity_bps),
        ("group_forecast_bits_per_second", "Highest 95 % quantile within the lead.", |a| a.forecast_bps),
    ];
    for (name, help, value) in gauges {
        page.each(("gauge", name, help), &groups, |(group, a)| ((*group).clone(), value(a)), "group");
    }
    let mut actions = page.counter("group_actions_total", "What was done for a group's traffic, by kind.");
    for (group, a) in groups {
        let AdaptiveActions { created, rates, migrated, drained } = a.actions;
        let kinds = [("create", created), ("rate", rates), ("migrate", migrated), ("drain", drained)];
        kinds.iter().for_each(|(kind, many)| actions.sample(&[("group", group), ("action", kind)], many));
    }
}

/// The switchover under way or watched, by stage, and the application checks.
fn switchover(page: &mut Page, status: &Status) {
    if let Some(s) = status.switchover.as_ref().filter(|s| s.ended_ms.is_none()) {
        let mut stages = page.gauge("switchover_stage", "1 at the stage where the switchover is.");
        for stage in Stage::ALL {
            let labels = [("cause", s.cause.name()), ("stage", stage.name())];
            stages.sample(&labels, u8::from(stage == s.stage));
        }
        page.gauge("switchover_seconds", "Since it began.").sample(&[], seconds(s.elapsed_ms));
    }
    let mut up = page.gauge("check_up", "1 if the application check passes, 0 if it fails.");
    for check in &status.checks {
        for (engine, view) in [("here", Some(&check.here)), ("there", check.there.as_ref())] {
            match view.map(|view| view.state) {
                Some(CheckState::Passing) => up.sample(&[("check", &check.name), ("engine", engine)], 1),
                Some(CheckState::Failing) => up.sample(&[("check", &check.name), ("engine", engine)], 0),
                // What is unknown has no sample.
                Some(CheckState::Unknown) | None => {}
            }
        }
    }
}

fn ports(page: &mut Page, ports: &[PortStatus]) {
    type Count = fn(&PortStatus) -> u64;
    page.each(
        ("gauge", "port_up", "1 if frames can pass."),
        ports,
        |p| (p.name.clone(), Some(u8::from(p.up))),
        "port",
    );
    let counters: [(&str, &str, Count); 8] = [
        ("port_receive_packets_total", "Received, as the driver counts.", |p| p.rx_packets),
        ("port_receive_bytes_total", "Received, as the driver counts.", |p| p.rx_bytes),
        ("port_transmit_packets_total", "Sent, as the driver counts.", |p| p.tx_packets),
        ("port_transmit_bytes_total", "Sent, as the driver counts.", |p| p.tx_bytes),
        ("port_receive_missed_total", "Lost because nobody polled in time.", |p| p.rx_missed),
        ("port_receive_errors_total", "Received with errors.", |p| p.rx_errors),
        ("port_transmit_errors_total", "Not sent.", |p| p.tx_errors),
        ("port_receive_no_mbuf_total", "Lost for want of a buffer.", |p| p.rx_no_mbuf),
    ];
    for (name, help, count) in counters {
        page.each(("counter", name, help), ports, |p| (p.name.clone(), Some(count(p))), "port");
    }
}

fn tunnels(page: &mut Page, tunnels: &[TunnelStatus]) {
    type Gauge = fn(&TunnelStatus) -> Option<f64>;
    type Count = fn(&TunnelStatus) -> u64;
    let gauges: [(&str, &str, Gauge); 9] = [
        ("tunnel_up", "1 if it carries traffic.", |t| Some(f64::from(u8::from(t.state == TunnelState::Up)))),
        ("tunnel_fenced", "1 if what it delivers is refused.", |t| Some(f64::from(u8::from(t.fenced)))),
        ("tunnel_mtu_bytes", "Largest inner packet.", |t| Some(f64::from(t.mtu))),
        ("tunnel_round_trip_seconds", "Smoothed round trip of its probes.", |t| t.rtt_us.map(|us| us / 1e6)),
        ("tunnel_jitter_seconds", "RFC 3550 jitter of its probes.", |t| t.jitter_us.map(|us| us / 1e6)),
        ("tunnel_transmit_loss_ratio", "Probes lost on the way out.", |t| Some(t.loss_tx)),
        ("tunnel_receive_loss_ratio", "Probes lost on the way back.", |t| Some(t.loss_rx)),
        ("tunnel_handshake_age_seconds", "Since its WireGuard session was agreed on.", |t| {
            t.wireguard.as_ref().and_then(|peer| peer.last_handshake_s)
        }),
        ("tunnel_buckets", "Buckets it is to have, of 65536.", |t| Some(f64::from(t.buckets))),
    ];
    for (name, help, value) in gauges {
        page.each(("gauge", name, help), tunnels, |t| (t.name.clone(), value(t)), "tunnel");
    }
    let counters: [(&str, &str, Count); 4] = [
        ("tunnel_transmit_packets_total", "Encapsulated.", |t| t.tx_packets),
        ("tunnel_transmit_bytes_total", "Inner bytes encapsulated.", |t| t.tx_bytes),
        ("tunnel_receive_packets_total", "Decapsulated.", |t| t.rx_packets),
        ("tunnel_receive_bytes_total", "Inner bytes decapsulated.", |t| t.rx_bytes),
    ];
    for (name, help, count) in counters {
        page.each(("counter", name, help), tunnels, |t| (t.name.clone(), Some(count(t))), "tunnel");
    }
}

/// Their classes are labelled `TUNNEL/CLASS`.
fn shapers(page: &mut Page, tunnels: &[TunnelStatus]) {
    let shaped: Vec<_> = tunnels.iter().filter_map(|t| Some((&t.name, t.shaper.as_ref()?))).collect();
    let rate = ("gauge", "shaper_rate_bits_per_second", "What a tunnel's shaper lets through.");
    page.each(rate, &shaped, |(name, s)| ((*name).clone(), Some(s.rate_kbps as f64 * 1000.0)), "tunnel");
    let classes: Vec<_> = shaped
        .iter()
        .flat_map(|(name, shaper)| {
            shaper.classes.iter().map(move |class| (format!("{name}/{}", class.name), class))
        })
        .collect();
    let waited = ("counter", "shaper_waited_packets_total", "Packets of a class that had to wait.");
    page.each(waited, &classes, |(name, c)| (name.clone(), Some(c.waited as f64)), "class");
    let dropped = ("counter", "shaper_dropped_packets_total", "Packets of a class dropped: too many waited.");
    page.each(dropped, &classes, |(name, c)| (name.clone(), Some(c.dropped as f64)), "class");
}

fn moves(page: &mut Page, moves: &MovesStatus) {
    let mut buckets = page.counter("buckets_moved_total", "Buckets that changed tunnel, by why they could.");
    let kinds = [("idle", moves.idle), ("gap", moves.gap), ("mark", moves.marked), ("failed", moves.failed)];
    kinds.iter().for_each(|(kind, many)| buckets.sample(&[("kind", kind)], many));
    page.counter("marks_sent_total", "MARKs sent down old paths.").sample(&[], moves.marks_sent);
    page.counter("marks_answered_total", "MARKs answered in time.").sample(&[], moves.marks_answered);
    page.counter("mark_packets_total", "Packets that waited for one.").sample(&[], moves.packets_waited);
    page.counter("mark_wait_seconds_total", "Waits for MARKs.").sample(&[], moves.wait_ms / 1e3);
}

fn workers(page: &mut Page, workers: &[WorkerStatus]) {
    type Gauge = fn(&WorkerStatus) -> Option<f64>;
    let polls = ("counter", "worker_polls_total", "Polls of all its queues.");
    page.each(polls, workers, |w| (w.id.to_string(), Some(w.polls)), "worker");
    let gauges: [(&str, &str, Gauge); 6] = [
        ("worker_busy_ratio", "Polls that found packets.", |w| Some(w.busy_share)),
        ("worker_residence_p50_seconds", "RX to TX, median.", |w| w.residence_p50_us.map(|us| us / 1e6)),
        ("worker_residence_p99_seconds", "RX to TX, 99th percentile.", |w| {
            w.residence_p99_us.map(|us| us / 1e6)
        }),
        ("worker_poll_gap_max_seconds", "Longest time between polls.", |w| Some(w.poll_gap_max_us / 1e6)),
        ("worker_pool_in_use", "Buffers of its pool in use.", |w| Some(f64::from(w.pool_in_use))),
        ("worker_pool_size", "Buffers of its pool.", |w| Some(f64::from(w.pool_size))),
    ];
    for (name, help, value) in gauges {
        page.each(("gauge", name, help), workers, |w| (w.id.to_string(), value(w)), "worker");
    }
}

fn packets(page: &mut Page, drops: &DropsStatus) {
    page.counter("packets_received_total", "Taken from ports.").sample(&[], drops.received);
    page.counter("packets_originated_total", "Made here.").sample(&[], drops.originated);
    page.counter("packets_transmitted_total", "Accepted by ports.").sample(&[], drops.transmitted);
    page.gauge("packets_held", "Waiting now.").sample(&[], drops.held);
    page.gauge("packets_balance", "Packets unaccounted for: 0.").sample(&[], drops.balance);
    let mut dropped = page.counter("packets_dropped_total", "Not transmitted, by reason.");
    drops.dropped.iter().for_each(|(reason, count)| dropped.sample(&[("reason", reason)], count));
    let things: Vec<&PoolStatus> = drops.pools.iter().collect();
    let size = ("gauge", "pool_size", "Packet buffers of a pool.");
    page.each(size, &things, |p| (p.name.clone(), Some(p.size)), "pool");
    let in_use = ("gauge", "pool_in_use", "Packet buffers of a pool in use.");
    page.each(in_use, &things, |p| (p.name.clone(), Some(p.in_use)), "pool");
}

fn mirror(page: &mut Page, status: &MirrorStatus) {
    if let Some(active) = &status.active {
        page.gauge("mirror_share_ratio", "Part of the flows that is mirrored now.").sample(&[], active.share);
        page.gauge("mirror_up", "1 if the standby takes copies.").sample(&[], u8::from(active.up));
        let copied = [("mirror_packets_total", "Copied.", active.flow_packets)];
        let lost = [
            ("mirror_bytes_total", "Copied, bytes.", active.flow_bytes),
            ("mirror_sampled_packets_total", "Sampled for themselves.", active.sampled_packets),
            ("mirror_lost_total", "Copies that found no room.", active.lost),
        ];
        for (name, help, value) in copied.into_iter().chain(lost) {
            page.counter(name, help).sample(&[], value);
        }
    }
    let of_standby = status.active.as_ref().and_then(|active| active.report.as_ref());
    let reports: Vec<(&str, &MirrorReport)> = of_standby
        .map(|report| ("active", report))
        .into_iter()
        .chain(status.found.as_ref().map(|r| ("shadow", r)))
        .collect();
    if reports.is_empty() {
        return;
    }
    let mut family =
        page.counter("mirror_compared_total", "Packets of which both engines' verdicts are known.");
    reports.iter().for_each(|(role, report)| family.sample(&[("role", role)], report.compared));
    let mut family = page.counter("mirror_diverged_total", "Packets that the shadow would treat otherwise.");
    for (role, report) in &reports {
        report.diverged.iter().for_each(|(kind, n)| family.sample(&[("role", role), ("kind", kind)], n));
    }
    let mut family = page.gauge("mirror_alarm", "1 while the shadow treats packets otherwise.");
    reports
        .iter()
        .for_each(|(role, report)| family.sample(&[("role", role)], u8::from(report.alarm.is_some())));
}
