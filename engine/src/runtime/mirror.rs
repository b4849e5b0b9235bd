//! Mirrors to the standby while this engine owns its site, and takes what the owner mirrors while it does not.

use super::engine::Engine;
use super::live_routes::Seen;
use crate::api::mirror::{MirrorStatus, MirroringStatus};
use crate::config::mirror::Mirror;
use crate::mirror::{Dial, Judge, Names, Received, Sent, receive, send, sessions_part};
use crate::peer::{MirrorStream, PeerLinks};
use crate::plan::Plan;
use anyhow::{Context as _, Result};
use control::io::Input;
use control::mirror::{Budget, Limits, Load, MirrorReport};
use dataplane::id::{Generation, Nanos, WorkerId};
use dataplane::message::Command;
use dataplane::mirror::{FlowSampler, Order, Rate, ShadowParts, SipKey, Source, Tally, Threshold, mirror};
use dataplane::snapshot::Snapshot;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Between two looks at the budget.
const ADAPT: Nanos = Nanos::from_millis(250);
/// Events that may wait.
const WAITING: usize = 16;

/// Everything of `[mirror]`.
pub struct Mirroring {
    config: Mirror,
    names: Names,
    dial: Option<(String, std::net::SocketAddr)>,
    tls: crate::peer::tls::Tls,
    judge: Judge,
    active: Option<Active>,
    epoch: u64,
    shadow: Shadowed,
    sent: mpsc::Sender<Sent>,
    received: mpsc::Sender<Received>,
}

/// Of traffic that is mirrored here.
struct Shadowed {
    from: Option<String>,
    found: Option<MirrorReport>,
    /// Of the packets compared between the last two reports the share that diverged; NaN where there were none.
    diverged: f32,
    task: Option<AbortHandle>,
}

impl Default for Shadowed {
    fn default() -> Shadowed {
        Shadowed { from: None, found: None, diverged: f32::NAN, task: None }
    }
}

impl Shadowed {
    fn report(&mut self, report: &MirrorReport) {
        let before = self.found.as_ref().map_or((0, 0), |found| (found.compared, found.diverged_total()));
        let since = |now: u64, before: u64| now.saturating_sub(before) as f32;
        self.diverged = since(report.diverged_total(), before.1) / since(report.compared, before.0);
        self.found = Some(report.clone());
    }
}

/// While this engine owns its site.
struct Active {
    task: AbortHandle,
    rings: Option<mpsc::Sender<Vec<Source>>>,
    rate: Rate,
    budget: Budget,
    tallies: Vec<Arc<Tally>>,
    /// Of mirrors before those of `tallies`.
    before: Taken,
    /// At the last look, and when that was.
    looked: (Taken, u64, Nanos),
    rotate_at: Nanos,
    report: Option<MirrorReport>,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What workers have counted.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    seen: u64,
    flow_packets: u64,
    flow_bytes: u64,
    packets: u64,
    lost: u64,
    too_long: u64,
}

impl Taken {
    fn plus(self, tally: &Tally) -> Taken {
        Taken {
            seen: self.seen + tally.seen.get(),
            flow_packets: self.flow_packets + tally.flow_packets.get(),
            flow_bytes: self.flow_bytes + tally.flow_bytes.get(),
            packets: self.packets + tally.packets.get(),
            lost: self.lost + tally.lost.get(),
            too_long: self.too_long + tally.too_long.get(),
        }
    }
}

impl Active {
    fn taken(&self) -> Taken {
        self.tallies.iter().fold(self.before, |taken, tally| taken.plus(tally))
    }
}

/// The ends that the loop waits at; nothing ever comes without `[mirror]`.
pub struct Arrivals {
    /// Connections that the other engine has opened to mirror.
    pub offered: mpsc::Receiver<MirrorStream>,
    /// As an owner.
    pub sent: mpsc::Receiver<Sent>,
    /// As a shadow.
    pub received: mpsc::Receiver<Received>,
}

impl Arrivals {
    /// With `offered`; the other two are made by [`Engine::start_mirror`].
    pub fn new(offered: mpsc::Receiver<MirrorStream>) -> Arrivals {
        Arrivals { offered, sent: mpsc::channel(1).1, received: mpsc::channel(1).1 }
    }
}

impl Engine {
    /// Gets ready for both parts, if the plan has a `[mirror]`.
    ///
    /// # Errors
    /// If the shadow's memory, thread or randomness cannot be had.
    pub fn start_mirror(&mut self, links: &PeerLinks, arrivals: &mut Arrivals) -> Result<()> {
        let Some(config) = self.plan.mirror else { return Ok(()) };
        let names = Names::of(&self.plan);
        let sessions =
            self.plan.access.unshadowed(WorkerId(0), sessions_part(config.share.get()), self.now())?;
        let snapshot = self.forwarding.snapshot();
        self.workers.publish(&snapshot);
        let ports = self.plan.ports.len();
        let parts = ShadowParts { clock: self.clock, snapshot, sessions, ports };
        let judge = Judge::start(parts, names.clone()).context("the mirror's shadow")?;
        let (sent, received) = (mpsc::channel(WAITING), mpsc::channel(WAITING));
        (arrivals.sent, arrivals.received) = (sent.1, received.1);
        self.mirroring = Some(Mirroring {
            config,
            names,
            dial: standby(&self.plan),
            tls: links.tls().clone(),
            judge,
            active: None,
            epoch: 0,
            shadow: Shadowed::default(),
            sent: sent.0,
            received: received.0,
        });
        Ok(())
    }

    /// Begins and ends with ownership; keeps the budget; chooses other flows when it is time.
    pub fn mirror_tick(&mut self, now: Nanos) {
        let Some(mirroring) = &mut self.mirroring else { return };
        let owner = self.controller.role().owner;
        match (&mut mirroring.active, owner) {
            (None, true) => mirroring.begin(now),
            (Some(_), false) => {
                mirroring.active = None;
                self.unmirror();
            }
            (Some(active), true) => {
                active.adapt(now);
                if active.rings.is_some() && now >= active.rotate_at {
                    self.mirror_anew(now);
                }
            }
            (None, false) => {}
        }
    }

    /// What comes of this engine's own mirror.
    pub fn mirror_sent(&mut self, event: Sent) {
        let now = self.now();
        let Some(active) = self.mirroring.as_mut().and_then(|mirroring| mirroring.active.as_mut()) else {
            return;
        };
        match event {
            Sent::Up(rings) => {
                active.rings = Some(rings);
                self.mirror_anew(now);
            }
            Sent::Report(report) => {
                active.report = Some(MirrorReport::clone(&report));
                self.input(Input::Mirror { own: false, report });
            }
            Sent::Down => {
                (active.rings, active.report) = (None, None);
                self.unmirror();
            }
        }
    }

    /// The other engine would mirror to this one: only the one of this site may, and its newest connection counts.
    pub fn mirror_offered(&mut self, (peer, stream): MirrorStream) {
        let Some(mirroring) = &mut self.mirroring else { return };
        if self.plan.controller.ha.as_ref().is_none_or(|ha| ha.peer != peer) {
            return tracing::warn!(peer, "would mirror here, but is not the other engine of this site");
        }
        if let Some(old) = mirroring.shadow.task.take() {
            old.abort();
        }
        let docket = mirroring.judge.docket();
        let task = tokio::spawn(receive(peer, stream, docket, mirroring.received.clone()));
        mirroring.shadow.task = Some(task.abort_handle());
    }

    /// What comes of what is mirrored here.
    pub fn mirror_received(&mut self, event: Received) {
        let Some(mirroring) = &mut self.mirroring else { return };
        match event {
            Received::Up(peer) => {
                tracing::info!(peer, "mirrors its traffic here");
                mirroring.shadow.from = Some(peer);
            }
            Received::Report(report) => {
                mirroring.shadow.report(&report);
                self.input(Input::Mirror { own: true, report });
            }
            Received::Down => {
                (mirroring.shadow.from, mirroring.shadow.found) = (None, None);
                mirroring.shadow.diverged = f32::NAN;
            }
        }
    }

    /// All workers choose flows anew, together.
    fn mirror_anew(&mut self, now: Nanos) {
        let Some(mirroring) = &mut self.mirroring else { return };
        mirroring.epoch += 1;
        let epoch = mirroring.epoch;
        let Some(active) = &mut mirroring.active else { return };
        let Some((key, seed)) = random_key() else {
            return tracing::error!("no randomness: other flows are not chosen");
        };
        active.before = active.taken();
        active.tallies.clear();
        active.rotate_at = now.plus(Nanos::from_millis(mirroring.config.rotate().as_millis() as u64));
        active.rate.set(Threshold::of(active.budget.share()));
        let order = Order { flows: FlowSampler::new(key, epoch), rate: active.rate.clone(), seed };
        let mut sources = Vec::new();
        for worker in (0..self.workers.len() as u16).map(WorkerId) {
            let (mirror, source) = mirror(worker, &order);
            if self.workers.command(worker, Command::Mirror(mirror)) {
                active.tallies.push(Arc::clone(&source.tally));
                sources.push(source);
            }
        }
        // Nobody at the other end: it has just gone down, and says so next.
        if let Some(rings) = &active.rings {
            drop(rings.try_send(sources));
        }
    }

    fn unmirror(&mut self) {
        for worker in (0..self.workers.len() as u16).map(WorkerId) {
            self.workers.command(worker, Command::Unmirror);
        }
    }

    /// What is mirrored, for those who ask.
    pub(super) fn mirror_status(&self) -> Option<MirrorStatus> {
        let mirroring = self.mirroring.as_ref()?;
        let peer = mirroring.dial.as_ref().map_or("nobody", |(peer, _)| peer);
        let active = mirroring.active.as_ref().map(|active| {
            let taken = active.taken();
            MirroringStatus {
                peer: peer.to_owned(),
                up: active.rings.is_some(),
                share: active.budget.share(),
                share_max: mirroring.config.share.get(),
                epoch: mirroring.epoch,
                seen_packets: taken.seen,
                flow_packets: taken.flow_packets,
                flow_bytes: taken.flow_bytes,
                sampled_packets: taken.packets,
                lost: taken.lost,
                too_long: taken.too_long,
                report: active.report.clone(),
            }
        });
        let Shadowed { from, found, .. } = &mirroring.shadow;
        Some(MirrorStatus { active, from: from.clone(), found: found.clone() })
    }
}

impl Mirroring {
    /// Of the packets mirrored here lately, the share that this engine treats otherwise; NaN while none are.
    pub fn diverged(&self) -> f32 {
        self.shadow.diverged
    }

    fn begin(&mut self, now: Nanos) {
        let Some((peer, address)) = self.dial.clone() else { return };
        let limits = Limits {
            share: self.config.share.get(),
            packets_ps: self.config.packets_per_second.get() as f64,
            bytes_ps: self.config.kilobytes_per_second.get() as f64 * 1000.0,
        };
        let dial = Dial { tls: self.tls.clone(), peer, address, names: self.names.clone() };
        let task = tokio::spawn(send(dial, self.sent.clone())).abort_handle();
        self.active = Some(Active {
            task,
            rings: None,
            rate: Rate::default(),
            budget: Budget::new(limits),
            tallies: Vec::new(),
            before: Taken::default(),
            looked: (Taken::default(), 0, now),
            rotate_at: now,
            report: None,
        });
    }

    /// Newer tables for the shadow.
    pub fn publish(&self, snapshot: &Snapshot) {
        self.judge.publish(snapshot);
    }

    /// What the workers and the shadow have all come to.
    pub fn seen(&self, workers: Seen) -> Seen {
        let Some(counters) = self.judge.counters() else { return workers };
        Seen {
            generation: workers.generation.min(Generation(counters.generation.announced())),
            epoch: workers.epoch.min(counters.fib_epoch.announced()),
        }
    }
}

impl Active {
    fn adapt(&mut self, now: Nanos) {
        let (before, lost_there, at) = self.looked;
        if self.rings.is_none() || now.since(at) < ADAPT {
            return;
        }
        let (taken, there) = (self.taken(), self.report.as_ref().map_or(0, |report| report.lost));
        let load = Load {
            packets: taken.flow_packets - before.flow_packets,
            bytes: taken.flow_bytes - before.flow_bytes,
            lost: taken.lost - before.lost + there.saturating_sub(lost_there),
        };
        self.rate.set(Threshold::of(self.budget.adapt(load, now.since(at))));
        self.looked = (taken, there, now);
    }
}

/// The other engine of the site and where it listens.
fn standby(plan: &Plan) -> Option<(String, std::net::SocketAddr)> {
    let peer = &plan.controller.ha.as_ref()?.peer;
    let known = plan.control.as_ref()?.peers.iter().find(|known| known.name == *peer)?;
    Some((peer.clone(), known.address))
}

/// A key that nobody outside can guess, and a seed for the packets' sample.
fn random_key() -> Option<(SipKey, u64)> {
    let mut bytes = [[0; 8]; 3];
    bytes.iter_mut().try_for_each(|word| aws_lc_rs::rand::fill(word)).ok()?;
    let [a, b, seed] = bytes.map(u64::from_ne_bytes);
    Some((SipKey([a, b]), seed))
}
