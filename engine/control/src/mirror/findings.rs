//! What a shadow makes of the verdicts: its own, and those that came with the copies.

use super::{CLASSES, MirrorReport, class};
use dataplane::drop_reason::DropReason;
use dataplane::id::Nanos;
use dataplane::mirror::{Fate, Walked};
use std::collections::VecDeque;

/// How the shadow's verdict differs from the active's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The active sends it on, the shadow would drop it.
    Drops,
    /// The active drops it, the shadow would send it on.
    Passes,
    /// Both drop it, for different reasons.
    Reason,
    /// Both send it on, to different places.
    NextHop,
    /// The shadow has no such interface or site as it came in by, or goes to.
    Unknown,
}

impl Kind {
    /// All, in the order of their counters.
    pub const ALL: [Kind; 5] = [Kind::Drops, Kind::Passes, Kind::Reason, Kind::NextHop, Kind::Unknown];

    /// The name in metrics and in `foreshift show mirror`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Drops => "drops",
            Kind::Passes => "passes",
            Kind::Reason => "reason",
            Kind::NextHop => "next_hop",
            Kind::Unknown => "unknown",
        }
    }
}

/// Both verdicts on one packet, in the shadow's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The active's; `None` if it names what the shadow does not have.
    pub active: Option<Fate>,
    /// The active knew a session of the packet's flow.
    pub in_session: bool,
    /// The shadow's; `None` if it could not walk the packet, for want of the interface or site that it came in by.
    pub shadow: Option<Walked>,
}

/// What follows from two verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They are the same.
    Agreed,
    /// They differ.
    Diverged(Kind),
    /// The shadow has not seen the session begin.
    UnseenSession,
    /// Load or the lease decided, not the tables.
    Incomparable,
}

impl Judged {
    /// What follows.
    pub fn outcome(&self) -> Outcome {
        if self.active.is_some_and(|fate| !fate.is_comparable())
            || self.shadow.is_some_and(|walked| !walked.fate.is_comparable())
        {
            return Outcome::Incomparable;
        }
        let (Some(active), Some(shadow)) = (self.active, self.shadow) else {
            return Outcome::Diverged(Kind::Unknown);
        };
        if active == shadow.fate {
            return Outcome::Agreed;
        }
        if self.in_session && !shadow.in_session {
            return Outcome::UnseenSession;
        }
        Outcome::Diverged(match (active, shadow.fate) {
            (Fate::Forwarded(_), Fate::Dropped(_)) => Kind::Drops,
            (Fate::Dropped(_), Fate::Forwarded(_)) => Kind::Passes,
            (Fate::Dropped(_), Fate::Dropped(_)) => Kind::Reason,
            (Fate::Forwarded(_), Fate::Forwarded(_)) => Kind::NextHop,
        })
    }
}

/// How long a divergence is remembered for the alarm, seconds.
const WINDOW: usize = 10;
/// So many in the window are no accident, such as a route that one engine learnt a moment earlier.
const RAISE: u64 = 3;
/// Examples kept.
const EXAMPLES: usize = 8;

/// All that a shadow has found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    compared: u64,
    diverged: [u64; Kind::ALL.len()],
    unseen_session: u64,
    incomparable: u64,
    lost: u64,
    latency_active: [u64; CLASSES],
    latency_shadow: [u64; CLASSES],
    examples: VecDeque<String>,
    /// Divergences by second, the newest last.
    recent: VecDeque<u64>,
    second: u64,
    alarm: Option<String>,
    /// The packet sample's estimates of this second, and of the one before.
    load: (f64, f64),
    load_before: (f64, f64),
}

impl Findings {
    /// Time passes: what is too old no longer keeps an alarm raised.
    pub fn tick(&mut self, now: Nanos) {
        let second = now.0 / 1_000_000_000;
        for _ in 0..second.saturating_sub(self.second).min(WINDOW as u64) {
            self.recent.push_back(0);
            if self.recent.len() > WINDOW {
                self.recent.pop_front();
            }
        }
        if second > self.second {
            self.load_before = if second == self.second + 1 { self.load } else { (0.0, 0.0) };
            self.load = (0.0, 0.0);
            self.second = second;
        }
        if self.recent.iter().all(|many| *many == 0) {
            self.alarm = None;
        }
    }

    /// Takes in one packet's verdicts; `example` describes it and them, should it be worth it.
    pub fn judged(&mut self, now: Nanos, judged: &Judged, example: impl FnOnce() -> String) {
        self.tick(now);
        match judged.outcome() {
            Outcome::Agreed => self.compared += 1,
            Outcome::UnseenSession => self.unseen_session += 1,
            Outcome::Incomparable => self.incomparable += 1,
            Outcome::Diverged(kind) => {
                self.compared += 1;
                self.diverged[kind as usize] += 1;
                self.remember(kind, &example());
            }
        }
    }

    fn remember(&mut self, kind: Kind, packet: &str) {
        let example = format!("{}: {packet}", kind.name());
        if let Some(newest) = self.recent.back_mut() {
            *newest += 1;
        }
        if self.recent.iter().sum::<u64>() >= RAISE && self.alarm.is_none() {
            self.alarm = Some(example.clone());
        }
        if self.examples.len() == EXAMPLES {
            self.examples.pop_front();
        }
        self.examples.push_back(example);
    }

    /// A packet that was sampled for itself, with probability `p`.
    pub fn sampled(&mut self, now: Nanos, length: u16, p: f64, residence_ns: Option<u32>) {
        self.tick(now);
        if p > 0.0 {
            self.load.0 += 1.0 / p;
            self.load.1 += f64::from(length) / p;
        }
        if let Some(residence) = residence_ns {
            self.latency_active[class(residence)] += 1;
        }
    }

    /// How long the shadow's own walk of a packet took.
    pub fn walked(&mut self, residence: Option<Nanos>) {
        if let Some(residence) = residence {
            self.latency_shadow[class(residence.0.min(u64::from(u32::MAX)) as u32)] += 1;
        }
    }

    /// Copies that did not come, or were not looked at.
    pub fn lost(&mut self, copies: u64) {
        self.lost += copies;
    }

    /// Copies that were taken for lost and came late.
    pub fn found(&mut self, copies: u64) {
        self.lost = self.lost.saturating_sub(copies);
    }

    /// What the other engine is told.
    pub fn report(&self) -> MirrorReport {
        let named = Kind::ALL.iter().map(|kind| (kind.name().to_owned(), self.diverged[*kind as usize]));
        MirrorReport {
            compared: self.compared,
            diverged: named.collect(),
            unseen_session: self.unseen_session,
            incomparable: self.incomparable,
            lost: self.lost,
            packets_ps: self.load_before.0.round() as u64,
            bytes_ps: self.load_before.1.round() as u64,
            latency_active: self.latency_active,
            latency_shadow: self.latency_shadow,
            alarm: self.alarm.clone(),
            examples: self.examples.iter().cloned().collect(),
        }
    }
}

/// A reason by the place that another engine gives it.
pub fn reason_named(names: &[String], place: u16) -> Option<DropReason> {
    names.get(usize::from(place)).and_then(|name| DropReason::from_name(name))
}
