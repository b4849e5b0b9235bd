//! The thread on which a shadow walks mirrored packets: beside the control loop, so that neither waits for the other.

use super::names::Names;
use control::mirror::{Findings, Hello, Judged};
use dataplane::mirror::wire::Told;
use dataplane::mirror::{Shadow, ShadowParts};
use dataplane::observe::headers::{Header, Upper};
use dataplane::snapshot::Snapshot;
use dataplane::telemetry::Counters;
use dataplane::worker::Clock;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use sync::mailbox;

/// Frames of copies that may wait.
const WAITING: usize = 32;
/// Without copies the shadow still shows that it has come to the newest tables, so that old ones may go.
const IDLE: Duration = Duration::from_millis(5);

/// Mirrors that follow each other number their copies at least so far apart.
const JUMP: u32 = 1 << 20;

/// What the thread is given.
#[derive(Debug)]
pub enum Work {
    /// Another engine begins.
    Hello(Box<Hello>),
    /// Its copies.
    Copies(Vec<u8>),
}

/// The thread's outside. Dropped, the thread ends.
pub struct Judge {
    /// What it is given.
    pub work: SyncSender<Work>,
    /// What it has found.
    pub findings: Arc<Mutex<Findings>>,
    snapshots: mailbox::Sender<Snapshot>,
    counters: Arc<Counters>,
}

impl Judge {
    /// Starts it.
    ///
    /// # Errors
    /// If the system gives no thread or no randomness.
    pub fn start<C>(parts: ShadowParts<C>, names: Names) -> std::io::Result<Judge>
    where
        C: Clock + Clone + Send + 'static,
    {
        let clock = parts.clock.clone();
        let shadow =
            Shadow::new(parts).map_err(|_| std::io::Error::other("the system gives no randomness"))?;
        let (work, waiting) = sync_channel(WAITING);
        let (snapshots, newer) = mailbox::mailbox();
        let (findings, counters) = (Arc::default(), shadow.counters().clone());
        let court = Court {
            shadow,
            clock,
            names,
            theirs: None,
            newest: BTreeMap::new(),
            findings: Arc::clone(&findings),
        };
        std::thread::Builder::new().name("mirror".into()).spawn(move || court.sit(&waiting, &newer))?;
        Ok(Judge { work, findings, snapshots, counters })
    }

    /// Newer tables.
    pub fn publish(&self, snapshot: &Snapshot) {
        drop(self.snapshots.post(Box::new(snapshot.clone())));
    }

    /// Which tables it has come to.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// The thread's inside.
struct Court<C: Clock> {
    shadow: Shadow<C>,
    clock: C,
    names: Names,
    theirs: Option<Box<Hello>>,
    /// The newest copy of each worker.
    newest: BTreeMap<u8, u32>,
    findings: Arc<Mutex<Findings>>,
}

impl<C: Clock> Court<C> {
    fn sit(mut self, work: &Receiver<Work>, newer: &mailbox::Receiver<Snapshot>) {
        loop {
            let work = work.recv_timeout(IDLE);
            if let Some(snapshot) = newer.take() {
                self.shadow.publish(&snapshot);
            }
            match work {
                Ok(Work::Hello(hello)) => {
                    self.theirs = Some(hello);
                    self.newest.clear();
                }
                Ok(Work::Copies(copies)) => self.judge(&copies),
                Err(RecvTimeoutError::Timeout) => {
                    self.shadow.idle();
                    let now = self.clock.now();
                    self.findings.lock().unwrap_or_else(PoisonError::into_inner).tick(now);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn judge(&mut self, copies: &[u8]) {
        let Some(theirs) = self.theirs.take() else { return };
        let findings = Arc::clone(&self.findings);
        let mut findings = findings.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = copies;
        while !rest.is_empty() {
            match Told::decode(rest) {
                Ok((told, behind)) => {
                    self.one(&theirs, &told, &mut findings);
                    rest = behind;
                }
                Err(error) => {
                    tracing::warn!(%error, "mirrored copies cannot be read");
                    findings.lost(1);
                    break;
                }
            }
        }
        self.theirs = Some(theirs);
    }

    /// Copies come about in order: what is missing below the newest is lost until it comes after all. A jump is a new beginning.
    fn count(&mut self, worker: u8, sequence: u32, findings: &mut Findings) {
        let newest = *self.newest.entry(worker).or_insert(sequence);
        let (ahead, behind) = (sequence.wrapping_sub(newest), newest.wrapping_sub(sequence));
        match (ahead, behind) {
            (0, _) => {}
            (1..JUMP, _) => findings.lost(u64::from(ahead) - 1),
            (_, 1..JUMP) => return findings.found(1),
            _ => {}
        }
        self.newest.insert(worker, sequence);
    }

    fn one(&mut self, theirs: &Hello, told: &Told<'_>, findings: &mut Findings) {
        let now = self.clock.now();
        self.count(told.worker, told.sequence, findings);
        if told.samples.packet {
            findings.sampled(now, told.length, told.threshold.probability(), told.residence_ns);
        }
        if !told.samples.flow {
            return;
        }
        let ingress = self.names.ingress(theirs, told.from);
        let walked = ingress.and_then(|ingress| self.shadow.walk(ingress, told.head, told.length.into()));
        findings.walked(walked.and_then(|walked| walked.residence));
        let active = self.names.fate(theirs, told.verdict);
        let judged = Judged { active, in_session: told.in_session, shadow: walked };
        findings.judged(now, &judged, || summary(told, &self.names.show(theirs, told.from)));
    }
}

/// A packet in a line, without what its hosts say in it.
fn summary(told: &Told<'_>, from: &str) -> String {
    let Some((header, _)) = Header::of(told.head) else { return format!("{} bytes {from}", told.length) };
    let ports = match header.upper {
        Upper::Ports { src, dst } => (format!(":{src}"), format!(":{dst}")),
        _ => Default::default(),
    };
    let (src, dst, protocol) = (header.src, header.dst, header.protocol.0);
    format!("{src}{} > {dst}{} protocol {protocol}, {} bytes {from}", ports.0, ports.1, told.length)
}

/// The part of this engine's sessions that mirrored flows need: twice the share of flows.
pub const fn sessions_part(share: f64) -> usize {
    (0.5 / share) as usize
}
