//! The running engine: one loop that feeds the controller and carries out what it asks for.

use super::assessment::assessment;
use super::bfd::BfdStates;
use super::cluster::StateStore;
use super::faults::Faults;
use super::forwarding::Forwarding;
use super::handover::Successor;
use super::journal::Journal;
use super::learning::Learning;
use super::mirror::{Arrivals, Mirroring};
use super::nat::Keepalives;
use super::neighbors::Neighbors;
use super::observe::Observing;
use super::path_mtu::PathMtus;
use super::sas::SecurityAssociations;
use super::site::{SiteConfig, SiteEvent};
use super::site_sas::Tools;
use super::static_sas::StaticSas;
use super::telemetry::{self, Sampler};
use super::traffic::{Seen, TrafficWatch};
use super::vitals::PeerVitals;
use super::workers::{Shapers, Workers};
use crate::api::ApiRequest;
use crate::crypto::Crypto;
use crate::peer::{KeyLog, PeerEvent, PeerLinks, Session};
use crate::plan::Plan;
use crate::shadow::Shadow;
#[cfg(feature = "wireguard")]
use crate::wireguard::WireGuard;
use anyhow::Result;
use control::Controller;
use control::io::{Input, Output};
use control::message::Message;
use dataplane::id::{Nanos, TunnelId, WorkerId};
use dataplane::message::{Command, Event, Retired};
use dpdk::{Clock, Device, Mempool};
use predictor::{Metric, Prediction, Predictor, TelemetrySample};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

/// Between two looks at the workers' events.
const TICK: Duration = Duration::from_millis(2);
/// Worker events taken in one tick.
const EVENTS: usize = 4096;
/// How long an ending engine still forwards, so that what is in flight towards it is not lost.
const LINGER: Duration = Duration::from_millis(1000);

/// What a person asked and still waits for.
pub type Replies = BTreeMap<u64, oneshot::Sender<Result<String, String>>>;

/// A booted engine.
pub struct Engine {
    /// What it was asked to be.
    pub plan: Plan,
    /// Its clock.
    pub clock: Clock,
    /// UNIX time at zero of the clock, milliseconds.
    pub started_unix_ms: u64,
    /// Its workers.
    pub workers: Workers,
    /// Its ports.
    pub devices: Vec<Device>,
    /// Its pools.
    pub pools: Vec<Mempool>,
    /// Forwarding state.
    pub forwarding: Forwarding,
    /// Neighbours.
    pub neighbors: Neighbors,
    /// Learnt path MTUs.
    pub path_mtus: PathMtus,
    /// Of NATs in front of this engine.
    pub keepalives: Keepalives,
    /// What computes ESP.
    pub crypto: Crypto,
    /// SAs.
    pub sas: SecurityAssociations,
    /// Those agreed on with foreign peers.
    pub static_sas: StaticSas,
    /// WireGuard's far ends.
    #[cfg(feature = "wireguard")]
    pub wireguard: WireGuard,
    /// How fast packets go into tunnels.
    pub shapers: Shapers,
    /// The controller.
    pub controller: Controller,
    /// Control connections by peer.
    pub sessions: BTreeMap<String, Session>,
    /// Where ESP keys are written, if debugging asks for it.
    pub key_log: Option<KeyLog>,
    /// Samples.
    pub sampler: Sampler,
    /// What adaptive groups carry.
    pub traffic: TrafficWatch,
    /// The model.
    pub predictor: Predictor,
    /// What learns from it, if wanted.
    pub learning: Option<Learning>,
    /// What the peers said of themselves.
    pub vitals: PeerVitals,
    /// What workers said of watched neighbours.
    pub bfd: BfdStates,
    /// Its last word.
    pub prediction: Option<Prediction>,
    /// What was measured and decided.
    pub journal: Journal,
    /// Answers that people wait for.
    pub replies: Replies,
    /// What a client looks at.
    pub observing: Option<Observing>,
    /// What is held on purpose.
    pub faults: Faults,
    /// Counts commands.
    pub next_reply: u64,
    /// The state that it shares, if it does.
    pub store: Option<StateStore>,
    /// What is mirrored to the other engine of the site, and from it.
    pub mirroring: Option<Mirroring>,
    /// What carries sessions between it and others, if anything does.
    pub shadow: Option<Shadow>,
    /// What it runs alike with the other engine of the site, if they share it.
    pub site: Option<SiteConfig>,
}

/// What comes from outside, beside the workers' events.
pub struct Sources {
    /// From the control connections.
    pub peers: mpsc::Receiver<PeerEvent>,
    /// From those who ask.
    pub api: mpsc::Receiver<ApiRequest>,
    /// From the state store.
    pub store: mpsc::Receiver<Input>,
    /// From application checks.
    pub checks: mpsc::Receiver<Input>,
    /// From mirrors.
    pub mirror: Arrivals,
    /// Processes that are ready to follow this one.
    pub successors: mpsc::Receiver<Successor>,
    /// What was done for the site's configuration.
    pub site: mpsc::Receiver<SiteEvent>,
}

impl Engine {
    /// Runs until `stop` resolves, then ends cleanly: peers told, traffic handed over. Or until another process of the engine
    /// goes on: then nobody is told, as nothing ends.
    pub async fn supervise(
        &mut self,
        mut from: Sources,
        links: Option<PeerLinks>,
        stop: impl Future<Output = ()>,
    ) -> Result<()> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sample = tokio::time::interval(telemetry::PERIOD);
        sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(stop);
        let mut due = Instant::now();
        let mut ending: Option<Instant> = None;
        while ending.is_none_or(|end| Instant::now() < end) {
            tokio::select! {
                biased;
                Some(event) = from.peers.recv() => self.peer_event(event),
                Some(request) = from.api.recv() => self.api_request(request),
                Some(input) = from.store.recv() => {
                    self.input(input);
                    self.publish();
                }
                Some(event) = from.site.recv() => self.site_event(event),
                Some(input) = from.checks.recv() => self.input(input),
                Some(event) = from.mirror.sent.recv() => self.mirror_sent(event),
                Some(event) = from.mirror.received.recv() => self.mirror_received(event),
                Some(offered) = from.mirror.offered.recv() => self.mirror_offered(offered),
                Some(successor) = from.successors.recv(), if ending.is_none() => {
                    self.end_observation("another process takes over");
                    if self.give_to(successor) {
                        break;
                    }
                }
                () = &mut stop, if ending.is_none() => {
                    tracing::info!("stopping: peers are told, traffic is handed over");
                    self.input(Input::Shutdown);
                    self.end_observation("the engine is stopping");
                    ending = Some(Instant::now() + LINGER);
                }
                _ = sample.tick() => self.sample(),
                _ = tick.tick() => {
                    self.sampler.ticked(due.elapsed().saturating_sub(TICK));
                    due = Instant::now();
                    self.tick();
                }
            }
        }
        if let Some(links) = links {
            links.shutdown().await;
        }
        if let Some(store) = self.store.take() {
            store.end().await;
        }
        Ok(())
    }

    /// What the workers report, then the controller's own time.
    fn tick(&mut self) {
        self.take_events();
        let polled = self.workers.polled_at();
        self.input(Input::WorkersPolled(polled));
        self.step(None);
        let seen = self.workers.seen();
        let seen = self.mirroring.as_ref().map_or(seen, |mirroring| mirroring.seen(seen));
        self.forwarding.routes.tick(seen);
        let now = self.clock.now();
        self.path_mtus.tick(now, &mut self.forwarding);
        self.keepalives.tick(now, &self.forwarding, &mut self.workers);
        self.neighbors.tick(now, &mut self.forwarding, &mut self.workers);
        #[cfg(feature = "wireguard")]
        self.wireguard_tick(now);
        self.observe_tick(now);
        self.mirror_tick(now);
        self.with_static_sas(|sas, tools| sas.tick(tools));
        self.site_tick();
        self.publish();
    }

    /// What the workers have reported.
    pub fn take_events(&mut self) {
        for _ in 0..EVENTS {
            let Some((worker, event)) = self.workers.event() else { break };
            self.worker_event(worker, event);
        }
    }

    fn worker_event(&mut self, worker: WorkerId, event: Event) {
        let now = self.clock.now();
        match event {
            Event::NeighborWanted { interface, ip } => {
                self.neighbors.wanted(interface, ip, now, &self.forwarding)
            }
            Event::NeighborSeen { interface, ip, mac, claim } => {
                self.neighbors.seen(interface, ip, mac, claim, now);
            }
            Event::ProbeReply { tunnel, sequence, reflector_sequence, rtt } => {
                self.input(Input::ProbeReply { tunnel, sequence, reflector_sequence, rtt });
            }
            Event::InboundInstalled(spi) => {
                if let Some(input) = self.sas.installs.inbound_installed(spi) {
                    self.input(input);
                }
            }
            Event::OutboundInstalled(tunnel, spi) => {
                self.static_sas.installed(tunnel);
                if let Some(input) = self.sas.installs.outbound_installed(worker, tunnel, spi) {
                    self.input(input);
                }
            }
            #[cfg(feature = "wireguard")]
            Event::SoftLimit(tunnel) if self.wireguard.wants_handshake(tunnel) => {}
            Event::SoftLimit(tunnel) if self.static_sas.has(tunnel) => {
                self.static_sas.renew(tunnel, &self.plan, &*self.crypto.provider, &mut self.workers);
                self.with_static_sas(|sas, tools| sas.renew_of_site(tunnel, tools));
            }
            Event::Reached(spi, reached) => self.static_sas.reached(spi, reached, now),
            Event::Limited(spi, limit) => self.with_static_sas(|sas, tools| sas.limited(spi, limit, tools)),
            Event::SoftLimit(tunnel) => self.input(Input::SaSoftLimit { tunnel }),
            Event::PathMtu { tunnel, spi, mtu } => {
                if spi.is_none_or(|spi| self.sas.outbound_spis(tunnel).contains(&spi.0)) {
                    self.path_mtus.learn(tunnel, mtu, now, &mut self.forwarding);
                }
            }
            Event::Bfd { session, state, diagnostic } => {
                self.bfd_changed(session, state, diagnostic);
            }
            Event::Advertised { from, priority, interval_cs, .. } => {
                let interval = Nanos::from_millis(10 * u64::from(interval_cs.max(1)));
                self.input(Input::Advertised { from, priority, interval });
            }
            Event::FarEnd { tunnel, ip, port } => self.far_end(tunnel, ip, port),
            Event::FarInside { tunnel, ip } => self.forwarding.set_far_inside(tunnel, ip),
            #[cfg(feature = "wireguard")]
            Event::SessionConfirmed(receiver) => self.session_confirmed(receiver),
            #[cfg(not(feature = "wireguard"))]
            Event::SessionConfirmed(_) => {}
            // Freed here, off the worker.
            Event::Retired(Retired::Inbound(inbound)) => {
                self.with_static_sas(|sas, tools| sas.retired(&inbound, tools));
            }
            Event::Retired(retired) => drop(retired),
        }
    }

    /// Static SAs, with what it takes to change them.
    pub fn with_static_sas(&mut self, change: impl FnOnce(&mut StaticSas, &mut Tools<'_>)) {
        let mut tools = Tools {
            plan: &self.plan,
            provider: &*self.crypto.provider,
            workers: &mut self.workers,
            shadow: self.shadow.as_ref(),
            now: self.clock.now(),
        };
        change(&mut self.static_sas, &mut tools);
    }

    fn peer_event(&mut self, event: PeerEvent) {
        if self.site_peer_event(&event) {
            return;
        }
        match event {
            PeerEvent::Up { peer, session } => {
                tracing::info!(peer = session.peer(), "control connection up");
                self.sessions.insert(peer.clone(), session);
                self.reset_sequences(&peer);
                self.input(Input::PeerUp { peer });
            }
            PeerEvent::Down { peer } => {
                tracing::warn!(peer, "control connection down");
                self.sessions.remove(&peer);
                self.vitals.gone(&peer);
                self.input(Input::PeerDown { peer });
            }
            PeerEvent::Message { peer, message } => {
                if let Message::Vitals { z, .. } = &message {
                    let now = self.clock.now();
                    self.vitals.heard(peer.clone(), z, now);
                }
                self.input(Input::Message { peer, message });
            }
        }
        self.publish();
    }

    /// A peer that has started anew numbers its GRE packets from the beginning (RFC 2890 §2.2).
    fn reset_sequences(&mut self, peer: &str) {
        let tunnels = self.plan.tunnels.iter().filter(|tunnel| tunnel.peer == peer).map(|tunnel| tunnel.id);
        for tunnel in tunnels {
            for worker in (0..self.workers.len() as u16).map(WorkerId) {
                self.workers.command(worker, Command::ResetSequence(tunnel));
            }
        }
    }

    /// One telemetry interval: sample, predict, tell the controller.
    fn sample(&mut self) {
        let now = self.clock.now();
        let at_ms = self.started_unix_ms + now.as_millis();
        let sources = (&mut self.workers, self.devices.as_slice(), self.pools.as_slice());
        let mut sample = self.sampler.sample(at_ms, now, sources, &self.controller);
        if let Some(mirroring) = &self.mirroring {
            sample.set(Metric::MirrorDiverged, mirroring.diverged());
        }
        let peers = self.vitals.mean(now);
        self.journal.sample(&sample, peers.as_ref());
        if let Some(peers) = &peers {
            self.predictor.hear(peers);
        }
        let prediction = self.predictor.push(&sample);
        if let Some(learning) = &mut self.learning {
            learning.sample(&sample, peers.as_ref(), &prediction, &mut self.predictor);
        }
        self.tell_vitals();
        self.prediction = Some(prediction);
        let alarm_from = self.predictor.model().description().alarm_from;
        let said = assessment(&prediction, alarm_from, self.sampler.busy_share());
        self.input(Input::Assessment(said));
        self.tell_traffic(now, &sample);
        self.tell_shadowing();
        self.publish();
    }

    /// Tells the controller what adaptive groups carry.
    fn tell_traffic(&mut self, now: Nanos, sample: &TelemetrySample) {
        let Engine { traffic, workers, shapers, forwarding, controller, predictor, .. } = self;
        let seen = |id: TunnelId| Seen {
            sent_bytes: workers.counters().map(|counters| counters.tunnel(id.index()).tx.bytes.get()).sum(),
            rate_bps: shapers[id.index()].as_ref().map(|shaper| shaper.bucket.rate().bits_per_second),
            mtu: forwarding.tunnels()[id.index()].mtu,
        };
        let told = traffic.sample(now, seen, (sample, predictor.model()), |id| controller.path(id));
        for group in told {
            self.input(Input::Traffic(group));
        }
    }

    /// Tells every peer how this engine is.
    fn tell_vitals(&self) {
        let Some(vitals) = self.predictor.vitals() else { return };
        let busy = Some(self.sampler.busy_share()).filter(|busy| busy.is_finite());
        let message = Message::Vitals { z: vitals.map(|z| z.is_finite().then_some(z)).to_vec(), busy };
        for (peer, session) in &self.sessions {
            if let Err(error) = session.send(&message) {
                tracing::debug!(peer, %error, "vitals not sent");
            }
        }
    }

    /// Gives the controller an input and carries out its outputs.
    pub fn input(&mut self, input: Input) {
        self.step(Some(input));
    }

    fn step(&mut self, input: Option<Input>) {
        let mut outputs = Vec::new();
        self.controller.step(self.clock.now(), input, &mut outputs);
        for output in outputs {
            if matches!(output, Output::AnnounceGateway) {
                // The workers must answer for the gateway before they announce it.
                self.publish();
            }
            self.carry_out(output);
        }
    }

    /// Publishes a snapshot if anything in it changed.
    pub fn publish(&mut self) {
        if let Some(snapshot) = self.forwarding.changed() {
            self.workers.publish(&snapshot);
            if let Some(mirroring) = &self.mirroring {
                mirroring.publish(&snapshot);
            }
        }
    }

    /// Now, on the engine's clock.
    pub fn now(&self) -> Nanos {
        self.clock.now()
    }
}

/// UNIX time, milliseconds.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
