//! Answers to those who ask: what the engine is doing, in the words of [`crate::api::status`].

use super::engine::{Engine, unix_ms};
use super::site::SiteConfig;
use crate::api::ApiRequest;
use crate::api::status::{
    Driver, DropsStatus, GroupStatus, MemberStatus, MovesStatus, PoolStatus, PortStatus, Role, Status,
    TunnelStatus, WorkerStatus,
};
use control::io::Input;
use control::status::TunnelState;
use dataplane::drop_reason::DropReason;
use dataplane::ecmp::MoveKind;
use dataplane::id::{Nanos, TunnelId};
use dataplane::telemetry::{Counters, TunnelCounters};
use std::sync::atomic::Ordering;

impl Engine {
    /// Answers a question or takes a command. Whoever asked may have gone; then nobody is told.
    pub fn api_request(&mut self, request: ApiRequest) {
        match request {
            ApiRequest::Status(reply) => drop(reply.send(self.status())),
            ApiRequest::Ports(reply) => drop(reply.send(self.ports())),
            ApiRequest::Tunnels(reply) => drop(reply.send(self.tunnels())),
            ApiRequest::Workers(reply) => drop(reply.send(self.worker_status())),
            ApiRequest::Drops(reply) => drop(reply.send(self.drops())),
            ApiRequest::Decisions(reply) => {
                drop(reply.send(self.controller.decisions().cloned().collect()));
            }
            ApiRequest::Cluster(reply) => drop(reply.send(self.cluster_status())),
            ApiRequest::Mirror(reply) => drop(reply.send(self.mirror_status())),
            ApiRequest::Telemetry(since_ms, reply) => drop(reply.send(self.journal.since(since_ms))),
            ApiRequest::ChangeRoutes(batch, reply) => {
                self.forwarding.routes.change(batch);
                self.publish();
                let _ = reply.send(self.forwarding.routes.summary().pending);
            }
            ApiRequest::Routes(wanted, reply) => drop(reply.send(self.routes(&wanted))),
            ApiRequest::Site(ask) => self.site_ask(ask),
            ApiRequest::RouteCount(reply) => drop(reply.send(self.route_count())),
            ApiRequest::Shape { tunnel, class, kbps, reply } => {
                let _ = reply.send(self.set_rate(&tunnel, class.as_deref(), kbps));
            }
            ApiRequest::Observe { request, reply } => drop(reply.send(self.observe(&request))),
            ApiRequest::Fault { fault, level, reply } => {
                let done = match self.workers.harm() {
                    Some(harm) => self.faults.set(fault, level, harm),
                    None => Err("this engine makes no faults: debug.faults = true would let it".to_owned()),
                };
                tracing::warn!(?fault, level, ?done, "fault");
                let _ = reply.send(done);
            }
            ApiRequest::Command { command, reply } => {
                let id = self.next_reply;
                self.next_reply += 1;
                self.replies.insert(id, reply);
                self.input(Input::Command { id, command });
                self.publish();
            }
        }
    }

    fn status(&self) -> Status {
        let (role, alarm, now) = (self.controller.role(), self.controller.alarm(), self.now());
        let known = |value: f32| value.is_finite().then_some(f64::from(value));
        let groups = self.groups();
        let tunnels = self.controller.tunnels();
        let up = tunnels.iter().any(|tunnel| tunnel.state == TunnelState::Up);
        let prediction = self.prediction.as_ref();
        Status {
            name: self.plan.name.clone(),
            site: self.plan.site.clone(),
            ready: up || groups.is_empty(),
            uptime_ms: now.as_millis(),
            unix_ms: unix_ms(),
            owner: role.owner,
            epoch: role.epoch.0,
            role: match (role.owner, &role.site_owner) {
                (true, _) => Role::Active,
                (false, Some(_)) => Role::Standby,
                (false, None) => Role::Unowned,
            },
            site_owner: role.site_owner,
            forwarding: now.0 < self.workers.forward_until.load(Ordering::Relaxed),
            mode: self.controller.mode(),
            probability: prediction.and_then(|prediction| known(prediction.alarm.probability)),
            horizon_ms: prediction.map_or(0, |prediction| prediction.alarm.within_ms),
            threshold: alarm.threshold,
            drift: prediction.map_or(0.0, |prediction| f64::from(prediction.drift)),
            drivers: prediction
                .into_iter()
                .flat_map(|prediction| prediction.drivers.into_iter().flatten())
                .map(|driver| Driver {
                    metric: driver.metric.name().into(),
                    weight: driver.contribution.into(),
                })
                .collect(),
            alarm: alarm.raised,
            peer_alarm: alarm.peer_raised,
            groups,
            switchover: self.switchover_status(now),
            checks: self.check_status(now),
            moves: self.moves(),
            bfd: self.bfd_status(),
            vrrp: self.vrrp_status(),
            generation: self.forwarding.generation().0,
            peers_up: self.sessions.keys().cloned().collect(),
            crypto: self.crypto.provider.name().into(),
            crypto_why: self.crypto.why.clone(),
            access: self.access(),
            store: self.store_status(),
            shadow: self.shadow_status(),
            config: self.site.as_ref().map(SiteConfig::status),
        }
    }

    fn moves(&self) -> MovesStatus {
        let mut moves = MovesStatus::default();
        for counters in self.workers.counters() {
            let (of, marks) = (|kind| counters.moved(kind).get(), &counters.marks);
            moves.idle += of(MoveKind::Idle);
            moves.gap += of(MoveKind::Gap);
            moves.marked += of(MoveKind::Marked);
            moves.failed += of(MoveKind::Failed);
            moves.marks_sent += marks.sent.get();
            moves.marks_answered += marks.answered.get();
            moves.packets_waited += marks.packets.get();
            moves.wait_ms += marks.wait_ns.get() as f64 / 1e6;
            moves.wait_ms_max = moves.wait_ms_max.max(marks.wait_ns_max.get() as f64 / 1e6);
        }
        moves
    }

    fn groups(&self) -> Vec<GroupStatus> {
        let plans = &self.plan.forwarding.groups;
        let member = |&(id, buckets): &(TunnelId, u32)| {
            let tunnel = &self.plan.tunnels[id.index()];
            MemberStatus {
                tunnel: tunnel.name.clone(),
                peer: tunnel.peer.clone(),
                buckets,
                share: f64::from(buckets) / 65_536.0,
                tx_packets: self.sum_tunnel(id, |tunnel| tunnel.tx.packets.get()),
            }
        };
        self.controller
            .groups()
            .iter()
            .map(|group| GroupStatus {
                name: group.name.clone(),
                site: plans[group.id.index()].site.clone(),
                members: group.members.iter().map(member).collect(),
                adaptive: group.adaptive.clone(),
            })
            .collect()
    }

    pub(super) fn sum_tunnel(&self, id: TunnelId, figure: impl Fn(&TunnelCounters) -> u64) -> u64 {
        self.workers.counters().map(|counters| figure(counters.tunnel(id.index()))).sum()
    }

    fn ports(&self) -> Vec<PortStatus> {
        self.plan
            .ports
            .iter()
            .zip(&self.devices)
            .map(|(plan, device)| {
                let stats = device.stats().unwrap_or_default();
                let link = device.link().ok();
                PortStatus {
                    name: plan.name.clone(),
                    device: plan.config.device.clone(),
                    mac: device.mac().map(|mac| mac.to_string()).unwrap_or_default(),
                    up: link.is_some_and(|link| link.up),
                    speed_mbps: link.and_then(|link| link.speed_mbps),
                    mtu: plan.config.mtu,
                    rx_queues: plan.config.rx_queues,
                    tx_queues: plan.config.tx_queues,
                    rx_packets: stats.ipackets,
                    rx_bytes: stats.ibytes,
                    tx_packets: stats.opackets,
                    tx_bytes: stats.obytes,
                    rx_missed: stats.imissed,
                    rx_errors: stats.ierrors,
                    tx_errors: stats.oerrors,
                    rx_no_mbuf: stats.rx_nombuf,
                }
            })
            .collect()
    }

    fn tunnels(&self) -> Vec<TunnelStatus> {
        let groups = self.controller.groups();
        self.controller
            .tunnels()
            .into_iter()
            .map(|tunnel| {
                let plan = &self.plan.tunnels[tunnel.id.index()];
                let published = &self.forwarding.tunnels()[tunnel.id.index()];
                let (path, id) = (tunnel.path, tunnel.id);
                let measured = |value: Nanos| (path.received > 0).then_some(value.0 as f64 / 1e3);
                let buckets = groups.iter().flat_map(|group| &group.members);
                TunnelStatus {
                    name: tunnel.name,
                    protocol: plan.protocol.into(),
                    algorithm: plan.esp.as_ref().map(|esp| esp.algorithm.name().into()),
                    problem: self.sas.problem(id).map(str::to_owned),
                    state: tunnel.state,
                    peer: tunnel.peer,
                    local: published.local,
                    remote: published.remote,
                    mtu: published.mtu,
                    rtt_us: measured(path.rtt),
                    jitter_us: measured(path.jitter),
                    loss_tx: path.loss_tx.into(),
                    loss_rx: path.loss_rx.into(),
                    tx_packets: self.sum_tunnel(id, |tunnel| tunnel.tx.packets.get()),
                    tx_bytes: self.sum_tunnel(id, |tunnel| tunnel.tx.bytes.get()),
                    rx_packets: self.sum_tunnel(id, |tunnel| tunnel.rx.packets.get()),
                    rx_bytes: self.sum_tunnel(id, |tunnel| tunnel.rx.bytes.get()),
                    spi_in: self.sas.inbound_spis(id),
                    spi_out: self.sas.outbound_spis(id),
                    inbound_generation: tunnel.inbound_generation,
                    outbound_generation: tunnel.outbound_generation,
                    fenced: tunnel.fenced,
                    shaper: self.shaper_status(id),
                    #[cfg(feature = "wireguard")]
                    wireguard: self.wireguard_status(id),
                    #[cfg(not(feature = "wireguard"))]
                    wireguard: None,
                    buckets: buckets.filter(|(member, _)| *member == id).map(|(_, buckets)| buckets).sum(),
                }
            })
            .collect()
    }

    fn worker_status(&self) -> Vec<WorkerStatus> {
        let latency = self.sampler.latency();
        let quantile = |at: f64| {
            let residence = &latency.residence_ns;
            (!residence.is_empty()).then(|| residence.value_at_quantile(at) as f64 / 1e3)
        };
        let worker = |((id, counters), &core): ((u16, &Counters), &u16)| WorkerStatus {
            id,
            core,
            polls: counters.polls.get(),
            busy_share: self.sampler.busy_share().into(),
            received: counters.received.get(),
            transmitted: counters.transmitted.get(),
            residence_p50_us: quantile(0.5),
            residence_p99_us: quantile(0.99),
            poll_gap_max_us: latency.poll_gap_max.0 as f64 / 1e3,
            pool_in_use: self.pools[0].in_use(),
            pool_size: self.pools[0].config().packets,
        };
        (0..).zip(self.workers.counters()).zip(&self.plan.workers).map(worker).collect()
    }

    /// Packets that one worker handed out and the other has not taken yet: they wait in a ring.
    fn between_workers(&self) -> u64 {
        // Taken first: what is handed over meanwhile must not look as if it had been taken twice.
        let taken: u64 = self.workers.counters().map(|counters| counters.handed_in.get()).sum();
        let given: u64 = self.workers.counters().map(|counters| counters.handed_out.get()).sum();
        given.saturating_sub(taken)
    }

    fn drops(&self) -> DropsStatus {
        let mut drops = DropsStatus { held: self.between_workers(), ..DropsStatus::default() };
        for counters in self.workers.counters() {
            drops.received += counters.received.get();
            drops.originated += counters.originated.get();
            drops.transmitted += counters.transmitted.get();
            drops.held += counters.held.get();
            for &reason in DropReason::ALL {
                let count = counters.dropped(reason).get();
                if count > 0 {
                    *drops.dropped.entry(reason.name().into()).or_default() += count;
                }
            }
        }
        drops.balance = drops.computed_balance();
        let pools = self.pools.iter().enumerate();
        drops.pools = pools
            .map(|(i, pool)| PoolStatus {
                name: pool
                    .config()
                    .socket
                    .map_or_else(|| format!("pool{i}"), |socket| format!("socket{socket}")),
                size: pool.config().packets,
                in_use: pool.in_use(),
            })
            .collect();
        drops
    }
}
