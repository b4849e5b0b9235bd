//! What the other engines said of themselves.

use crate::message::{Endpoints, Message};
use dataplane::id::Nanos;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A report older than this says nothing.
const FRESH: Nanos = Nanos::from_millis(1000);

#[derive(Clone, Copy, Debug)]
struct Report {
    at: Nanos,
    up: bool,
    rtt_us: f32,
    loss: f32,
    /// How many there were of this path.
    count: u32,
}

/// One peer.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    pub connected: bool,
    /// It said goodbye and has not been back since.
    pub gone: bool,
    /// Since when its own alarm is raised, as far as we heard.
    alarm: Option<Nanos>,
    /// It can be talked to about tunnels that are made while engines run.
    pub parallel: bool,
    /// How busy it said it was, and when.
    busy: Option<(Nanos, f32)>,
    reports: BTreeMap<Endpoints, Report>,
}

/// A path's quality as the decisions need it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quality {
    pub up: bool,
    pub rtt_us: f32,
    pub loss: f32,
}

impl Quality {
    /// The worse of the two in each respect.
    pub fn worse(self, other: Quality) -> Quality {
        Quality {
            up: self.up && other.up,
            rtt_us: self.rtt_us.max(other.rtt_us),
            loss: self.loss.max(other.loss),
        }
    }
}

impl Peer {
    pub fn report(&mut self, now: Nanos, message: &Message) {
        let Message::PathReport { tunnel, up, rtt_us, loss_tx, loss_rx } = message else { return };
        // A peer's own tunnels are few; a confused one must not fill our memory.
        if self.reports.len() < 1024 || self.reports.contains_key(tunnel) {
            let loss = worst_loss(*loss_tx, *loss_rx);
            let rtt_us = if rtt_us.is_finite() { rtt_us.max(0.0) } else { f32::MAX };
            let count = self.reports.get(tunnel).map_or(0, |before| before.count).saturating_add(1);
            self.reports.insert(*tunnel, Report { at: now, up: *up, rtt_us, loss, count });
        }
    }

    /// It says whether its own alarm is raised.
    pub fn says_alarm(&mut self, now: Nanos, raised: bool) {
        self.alarm = raised.then(|| self.alarm.unwrap_or(now));
    }

    /// Its own alarm is raised.
    pub fn alarm(&self) -> bool {
        self.alarm.is_some()
    }

    /// Since when we know that.
    pub fn alarm_since(&self) -> Option<Nanos> {
        self.alarm
    }

    /// It says how busy it is; nonsense is not believed.
    pub fn says_busy(&mut self, now: Nanos, busy: Option<f32>) {
        self.busy = busy.filter(|busy| (0.0..=1.0).contains(busy)).map(|busy| (now, busy));
    }

    /// How busy it is, if it has said so lately.
    pub fn busy(&self, now: Nanos) -> Option<f32> {
        self.busy.filter(|(at, _)| now.since(*at) < FRESH).map(|(_, busy)| busy)
    }

    pub fn forget_reports(&mut self) {
        self.reports.clear();
        self.alarm = None;
        self.busy = None;
    }

    /// The worst of its fresh paths to `remotes`, or of all its paths if none leads there. `None` if
    /// nothing fresh is known.
    pub fn quality(&self, now: Nanos, remotes: &[IpAddr]) -> Option<Quality> {
        let quality = |r: &Report| Quality { up: r.up, rtt_us: r.rtt_us, loss: r.loss };
        self.fresh(now, remotes).map(quality).reduce(Quality::worse)
    }

    /// How often it has reported all of these paths since it is connected.
    pub fn rounds(&self, now: Nanos, remotes: &[IpAddr]) -> u32 {
        self.fresh(now, remotes).map(|r| r.count).min().unwrap_or(0)
    }

    fn fresh<'a>(&'a self, now: Nanos, remotes: &'a [IpAddr]) -> impl Iterator<Item = &'a Report> {
        let fresh = move || self.reports.iter().filter(move |(_, r)| now.since(r.at) < FRESH);
        let there = fresh().any(|(e, _)| remotes.contains(&e.remote));
        fresh().filter(move |(e, _)| !there || remotes.contains(&e.remote)).map(|(_, r)| r)
    }
}

/// A loss that is not a number is total.
fn worst_loss(tx: f32, rx: f32) -> f32 {
    let clean = |loss: f32| if loss.is_finite() { loss.clamp(0.0, 1.0) } else { 1.0 };
    clean(tx).max(clean(rx))
}
