//! What engines tell each other of sessions, so that one of them can go on where the other has ended.
//!
//! A worker reports what changes, never what it has: a session begins, comes to another state, or ends; one that lives on
//! is reported once each time its deadline is moved, so that it does not time out elsewhere. Reports go over a bounded
//! ring that is never waited for. One that does not fit is counted, and a *round* makes up for it: the worker
//! then reports everything it has, a part each poll, and whoever holds copies forgets those that the round did not name.
//!
//! A *copy* is a session of another engine in this engine's table. It is told from a native one by its [`Origin`],
//! expires by itself somewhat later than the original, and becomes native with its first packet here, after the rules
//! of this engine were asked.

use crate::flow::{SessionKey, Track};
use crate::id::Nanos;
use arrayvec::ArrayVec;
use sync::ring::{Consumer, Producer, ring};

/// Reports that may wait for control.
const CHANGES: usize = 1 << 15;
/// Batches that may wait for a worker, or wait to be filled again.
pub const BATCHES: usize = 64;
/// Tasks in a batch: what a worker does in one poll beside its packets.
pub const BATCH: usize = 64;

/// A flow's session, as another engine can go on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowState {
    /// How its packets look, NAT included: its binding is in this.
    pub key: SessionKey,
    /// What has been seen of it.
    pub track: Track,
    /// Seconds since its last packet.
    pub idle: u16,
    /// Where its first packet came in, as the ACL of its engine knows it.
    pub input: u16,
}

/// A change of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowChange {
    /// It lives, and this is its state.
    Live(FlowState),
    /// It has ended.
    Ended(SessionKey),
}

/// What a worker reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// A change, at this time of the engine's clock.
    Flow(Nanos, FlowChange),
    /// All that it has was reported since the [`Task::Report`] of this round.
    RoundEnds(u8),
}

/// Whose session an entry of a table is: its own engine's, or the copy of one of up to 15 others, last named in one of 16
/// rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(u8);

impl Origin {
    /// Of this engine.
    pub const NATIVE: Origin = Origin(0);

    /// A copy of the session of another engine, numbered from 1 to 15; rounds count modulo 16.
    pub const fn copy(source: u8, round: u8) -> Option<Origin> {
        if source >= 1 && source <= 15 { Some(Origin(source << 4 | round & 15)) } else { None }
    }

    /// Of this engine.
    pub const fn is_native(self) -> bool {
        self.0 == 0
    }

    /// Of the same engine, or not native either.
    pub const fn same_source(self, other: Origin) -> bool {
        self.0 >> 4 == other.0 >> 4
    }
}

/// What a worker is asked to do with its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Have this copy.
    Install(FlowState, Origin),
    /// Its original has ended. A session that has become native stays.
    End(SessionKey, Origin),
    /// Forget the copies of this origin's engine that were last named in another round.
    Forget(Origin),
    /// Idle times of all copies count from now on: nobody refreshes them any more.
    Renew,
    /// Report all native sessions, and [`Report::RoundEnds`] after them.
    Report(u8),
}

/// Some tasks. The box that comes back is the proof that they were carried out.
#[derive(Debug, Default)]
pub struct Batch {
    /// Whatever the sender knows it by.
    pub number: u64,
    /// In order.
    pub tasks: ArrayVec<Task, BATCH>,
}

/// A worker's ends.
pub struct WorkerShadow {
    /// What it reports.
    pub reports: Producer<Report>,
    /// What it is asked.
    pub asks: Asks,
}

/// Of these, those that tasks come by.
pub struct Asks {
    /// What is asked.
    pub batches: Consumer<Box<Batch>>,
    /// What is done: there is room for every batch that there is.
    pub done: Producer<Box<Batch>>,
}

/// The ends of whoever talks to other engines.
pub struct ControlShadow {
    /// What the worker reports; its overflow counts reports that were lost.
    pub reports: Consumer<Report>,
    /// What it is asked.
    pub batches: Producer<Box<Batch>>,
    /// What it has done.
    pub done: Consumer<Box<Batch>>,
}

/// Connects one worker.
pub fn connect() -> (WorkerShadow, ControlShadow) {
    let (report_tx, report_rx) = ring(CHANGES);
    let (batch_tx, batch_rx) = ring(BATCHES);
    let (done_tx, done_rx) = ring(BATCHES);
    (
        WorkerShadow { reports: report_tx, asks: Asks { batches: batch_rx, done: done_tx } },
        ControlShadow { reports: report_rx, batches: batch_tx, done: done_rx },
    )
}
