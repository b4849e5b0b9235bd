//! The thread on which a shadow walks mirrored packets, beside the control loop. Neither ever waits for the other: a control
//! loop that waited here could lose its lease.

use super::names::Names;
use control::mirror::{Findings, Hello, Judged, MirrorReport};
use dataplane::id::Nanos;
use dataplane::mirror::wire::Told;
use dataplane::mirror::{Shadow, ShadowParts};
use dataplane::observe::headers::{Header, Upper};
use dataplane::snapshot::Snapshot;
use dataplane::telemetry::Counters;
use dataplane::worker::Clock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use sync::mailbox;

/// Frames of copies that may wait.
const WAITING: usize = 32;
/// Without copies the shadow still shows that it has come to the newest tables, so that old ones may go.
const IDLE: Duration = Duration::from_millis(5);
/// Between two reports to whoever asks.
const TELL: Nanos = Nanos::from_millis(200);
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
    docket: Docket,
    snapshots: mailbox::Sender<Snapshot>,
    counters: Arc<Counters>,
    thread: JoinHandle<()>,
}

/// Where a connection hands in copies and hears of them.
#[derive(Clone)]
pub struct Docket {
    work: SyncSender<Work>,
    reports: Arc<mailbox::Receiver<MirrorReport>>,
    /// Frames that found no room.
    shed: Arc<AtomicU64>,
}

impl Docket {
    /// Gives the thread something to do.
    ///
    /// # Errors
    /// If there is no room: gives it back, and says whether the thread lives.
    pub fn hand_in(&self, work: Work) -> Result<(), (Work, bool)> {
        self.work.try_send(work).map_err(|error| match error {
            TrySendError::Full(work) => (work, true),
            TrySendError::Disconnected(work) => (work, false),
        })
    }

    /// A frame of copies was not handed in. How many those are is not known without a look at them; one at least, and that is
    /// enough to be told.
    pub fn shed(&self) {
        self.shed.fetch_add(1, Ordering::Relaxed);
    }

    /// The newest report, if there was one since the last time.
    pub fn report(&self) -> Option<Box<MirrorReport>> {
        self.reports.take()
    }
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
        let (found, reports) = mailbox::mailbox();
        let (shed, counters) = (Arc::<AtomicU64>::default(), shadow.counters().clone());
        let court = Court {
            shadow,
            clock,
            names,
            theirs: None,
            newest: BTreeMap::new(),
            findings: Findings::default(),
            found,
            told: Nanos(0),
            shed: Arc::clone(&shed),
        };
        let thread = std::thread::Builder::new().name("mirror".into());
        let thread = thread.spawn(move || court.sit(&waiting, &newer))?;
        let docket = Docket { work, reports: Arc::new(reports), shed };
        Ok(Judge { docket, snapshots, counters, thread })
    }

    /// For a connection.
    pub fn docket(&self) -> Docket {
        self.docket.clone()
    }

    /// Newer tables.
    pub fn publish(&self, snapshot: &Snapshot) {
        drop(self.snapshots.post(Box::new(snapshot.clone())));
    }

    /// Which tables it has come to; `None` if it lives no more, and reads none.
    pub fn counters(&self) -> Option<&Counters> {
        (!self.thread.is_finished()).then_some(&*self.counters)
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
    findings: Findings,
    found: mailbox::Sender<MirrorReport>,
    /// When it was last told.
    told: Nanos,
    shed: Arc<AtomicU64>,
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
                    self.findings = Findings::default();
                    self.told = Nanos(0);
                }
                Ok(Work::Copies(copies)) => self.judge(&copies),
                Err(RecvTimeoutError::Timeout) => self.shadow.idle(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.tell();
        }
    }

    /// Puts a report where a connection finds it.
    fn tell(&mut self) {
        let now = self.clock.now();
        if now.since(self.told) < TELL {
            return;
        }
        self.told = now;
        self.findings.lost(self.shed.swap(0, Ordering::Relaxed));
        self.findings.tick(now);
        drop(self.found.post(Box::new(self.findings.report())));
    }

    fn judge(&mut self, copies: &[u8]) {
        let Some(theirs) = self.theirs.take() else { return };
        let mut rest = copies;
        while !rest.is_empty() {
            match Told::decode(rest) {
                Ok((told, behind)) => {
                    self.one(&theirs, &told);
                    rest = behind;
                }
                Err(error) => {
                    tracing::warn!(%error, "mirrored copies cannot be read");
                    self.findings.lost(1);
                    break;
                }
            }
        }
        self.theirs = Some(theirs);
    }

    /// Copies come about in order: what is missing below the newest is lost until it comes after all. A jump is a new beginning.
    fn count(&mut self, worker: u8, sequence: u32) {
        let newest = *self.newest.entry(worker).or_insert(sequence);
        let (ahead, behind) = (sequence.wrapping_sub(newest), newest.wrapping_sub(sequence));
        match (ahead, behind) {
            (0, _) => {}
            (1..JUMP, _) => self.findings.lost(u64::from(ahead) - 1),
            (_, 1..JUMP) => return self.findings.found(1),
            _ => {}
        }
        self.newest.insert(worker, sequence);
    }

    fn one(&mut self, theirs: &Hello, told: &Told<'_>) {
        let now = self.clock.now();
        self.count(told.worker, told.sequence);
        if told.samples.packet {
            self.findings.sampled(now, told.length, told.threshold.probability(), told.residence_ns);
        }
        if !told.samples.flow {
            return;
        }
        let ingress = self.names.ingress(theirs, told.from);
        let walked = ingress.and_then(|ingress| self.shadow.walk(ingress, told.head, told.length.into()));
        self.findings.walked(walked.and_then(|walked| walked.residence));
        let active = self.names.fate(theirs, told.verdict);
        let judged = Judged { active, in_session: told.in_session, shadow: walked };
        let names = &self.names;
        self.findings.judged(now, &judged, || {
            let (packet, from) = (summary(told), names.show_entry(theirs, told.from));
            let [active, shadow] =
                [active, walked.map(|walked| walked.fate)].map(|fate| names.show_fate(fate));
            format!("{packet} from {from}; active: {active}; shadow: {shadow}")
        });
    }
}

/// A packet in a line, without what its hosts say in it.
fn summary(told: &Told<'_>) -> String {
    let Some((header, _)) = Header::of(told.head) else { return format!("{} bytes", told.length) };
    let ports = match header.upper {
        Upper::Ports { src, dst } => (format!(":{src}"), format!(":{dst}")),
        _ => Default::default(),
    };
    let (src, dst, protocol) = (header.src, header.dst, header.protocol.0);
    format!("{src}{} > {dst}{} protocol {protocol}, {} bytes", ports.0, ports.1, told.length)
}

/// One of so many parts of this engine's sessions is room for those of mirrored flows, twice over.
pub const fn sessions_part(share: f64) -> usize {
    (0.5 / share) as usize
}
