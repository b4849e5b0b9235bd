//! Application checks: whether what is behind the far sites answers, as this engine and as the other engine of its site see it.
//!
//! The shell asks and says what came of each attempt; here `rise` good ones in a row make a check pass and `fall` bad ones make it
//! fail. Both engines ask for themselves, each by its own way, and tell each other. What was not heard of for a while is unknown,
//! which is never taken for passing.

use crate::message::{Message, SAID_MAX};
use dataplane::id::Nanos;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a peer said longer ago than this says nothing.
const HEARD_FRESH: Nanos = Nanos::from_millis(3000);
/// What has not changed is said again after this.
const SAY_AGAIN: Nanos = Nanos::from_millis(1000);
/// The other's clock runs, and the channel takes, a little: an attempt counts as begun this much earlier than it was said to be.
const SLACK: Nanos = Nanos::from_millis(100);

/// One check, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckConfig {
    /// Its name: the same at both engines of a site.
    pub name: String,
    /// Whether planned moves depend on it; or else it is only told.
    pub blocks: bool,
    /// From the begin of an attempt to the begin of the next.
    pub interval: Nanos,
    /// How long an attempt may take.
    pub timeout: Nanos,
    /// Good attempts in a row after which it passes.
    pub rise: u32,
    /// Bad attempts in a row after which it fails.
    pub fall: u32,
}

impl CheckConfig {
    /// From the begin of an attempt to the end of the next at the latest.
    const fn round(&self) -> Nanos {
        Nanos(self.interval.0 + 2 * self.timeout.0)
    }

    /// An attempt that began longer ago says nothing any more.
    const fn stale(&self) -> Nanos {
        Nanos(2 * self.round().0 + 1_000_000_000)
    }

    /// Within this a check that was unknown has an opinion, and one that changed its mind has said so.
    const fn opinion(&self) -> Nanos {
        let most = if self.rise > self.fall { self.rise } else { self.fall };
        Nanos(self.round().0 * (most as u64 + 1) + SAY_AGAIN.0)
    }
}

/// What a check says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// Nothing, yet or any more.
    #[default]
    Unknown,
    /// The application answers.
    Passing,
    /// It does not, or not as it should.
    Failing,
}

/// What one engine says of one check; times are the sender's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Its name.
    pub name: String,
    /// What it says.
    pub state: CheckState,
    /// Whether the newest attempt was good.
    pub good: bool,
    /// Since the begin of the newest attempt that has ended, milliseconds.
    pub age_ms: u64,
    /// What was wrong last.
    pub reason: String,
}

/// One engine's view of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub state: CheckState,
    /// Whether the newest attempt was good …
    pub good: bool,
    /// … and when it began, on this engine's clock.
    pub began: Option<Nanos>,
    /// What was wrong last, or why nothing is known.
    pub reason: String,
}

impl View {
    fn unknown(reason: impl Into<String>) -> View {
        View { reason: reason.into(), ..View::default() }
    }

    /// A good attempt began after `since`.
    pub fn good_since(&self, since: Nanos) -> bool {
        self.good && self.began.is_some_and(|began| began > since)
    }
}

/// A check as both engines of the site see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighted {
    pub name: String,
    pub blocks: bool,
    /// See [`CheckConfig::opinion`].
    pub opinion: Nanos,
    pub own: View,
    pub other: View,
}

#[derive(Clone, Debug, Default)]
struct Tally {
    state: CheckState,
    good: bool,
    in_a_row: u32,
    began: Option<Nanos>,
    reason: String,
}

impl Tally {
    fn take(&mut self, config: &CheckConfig, began: Nanos, outcome: Result<(), String>) {
        if self.began.is_some_and(|before| began.since(before) > config.stale()) {
            *self = Tally::default();
        }
        let good = outcome.is_ok();
        self.in_a_row = if good == self.good { self.in_a_row.saturating_add(1) } else { 1 };
        (self.good, self.began) = (good, Some(began));
        match outcome {
            Ok(()) if self.in_a_row >= config.rise => {
                self.state = CheckState::Passing;
                self.reason.clear();
            }
            Ok(()) => {}
            Err(reason) => {
                self.reason = told(&reason);
                if self.in_a_row >= config.fall {
                    self.state = CheckState::Failing;
                }
            }
        }
    }

    fn view(&self, config: &CheckConfig, now: Nanos) -> View {
        match self.began {
            None => View::unknown("no attempt has ended yet"),
            Some(began) if now.since(began) > config.stale() => {
                View::unknown("no attempt has ended for long")
            }
            began => View { state: self.state, good: self.good, began, reason: self.reason.clone() },
        }
    }
}

/// What the other engine says of its checks.
#[derive(Debug)]
struct Heard {
    at: Nanos,
    reports: BTreeMap<String, CheckReport>,
}

/// All checks of this engine, and what the other engine of its site says of its own.
#[derive(Debug)]
pub(crate) struct Checks {
    config: Vec<CheckConfig>,
    tallies: Vec<Tally>,
    /// The other engine, if it is connected: whether it says anything of checks, and what.
    other: Option<(bool, Option<Heard>)>,
    said: Vec<(CheckState, bool)>,
    say_at: Nanos,
}

impl Checks {
    pub fn new(config: Vec<CheckConfig>) -> Checks {
        let tallies = config.iter().map(|_| Tally::default()).collect();
        Checks { config, tallies, other: None, said: Vec::new(), say_at: Nanos(0) }
    }

    /// An attempt of the check at `place` that began at `began` has ended.
    pub fn result(&mut self, place: usize, began: Nanos, outcome: Result<(), String>) {
        if let (Some(config), Some(tally)) = (self.config.get(place), self.tallies.get_mut(place)) {
            tally.take(config, began, outcome);
        }
    }

    /// The other engine has said whether it tells of its checks.
    pub fn is_told_by_other(&self) -> bool {
        self.other.is_some()
    }

    /// The other engine is connected; whether it tells of its checks.
    pub fn connected(&mut self, tells: bool) {
        self.other = Some((tells, None));
        self.say_at = Nanos(0);
    }

    pub fn disconnected(&mut self) {
        self.other = None;
    }

    /// The other engine says. More than it could have is not kept.
    pub fn heard(&mut self, now: Nanos, reports: &[CheckReport]) {
        let kept = reports.iter().filter(|report| report.name.len() <= SAID_MAX).take(CHECKS_MAX);
        let kept = kept.map(|r| (r.name.clone(), CheckReport { reason: told(&r.reason), ..r.clone() }));
        self.other = Some((true, Some(Heard { at: now, reports: kept.collect() })));
    }

    /// What is to be said to the other engine now: what has changed, or is due again.
    pub fn due(&mut self, now: Nanos, site: &str) -> Option<Message> {
        if !matches!(self.other, Some((true, _))) {
            return None;
        }
        let views: Vec<View> = self.own(now).map(|(_, view)| view).collect();
        let saying: Vec<(CheckState, bool)> = views.iter().map(|view| (view.state, view.good)).collect();
        if now < self.say_at && saying == self.said {
            return None;
        }
        (self.said, self.say_at) = (saying, now.plus(SAY_AGAIN));
        let report = |(config, view): (&CheckConfig, View)| CheckReport {
            name: config.name.clone(),
            state: view.state,
            good: view.good,
            age_ms: view.began.map_or(0, |began| now.since(began).as_millis()),
            reason: view.reason,
        };
        let checks = self.config.iter().zip(views).map(report).collect();
        Some(Message::Checks { site: site.to_owned(), checks })
    }

    fn own(&self, now: Nanos) -> impl Iterator<Item = (&CheckConfig, View)> {
        self.config.iter().zip(&self.tallies).map(move |(config, tally)| (config, tally.view(config, now)))
    }

    /// What the check at `place` says here.
    pub fn state(&self, place: usize, now: Nanos) -> View {
        self.own(now).nth(place).map_or_else(View::default, |(_, view)| view)
    }

    /// Every check as both engines see it.
    pub fn sight(&self, now: Nanos) -> Vec<Sighted> {
        let sighted = |(config, own): (&CheckConfig, View)| Sighted {
            name: config.name.clone(),
            blocks: config.blocks,
            opinion: config.opinion(),
            own,
            other: self.other_view(config, now),
        };
        self.own(now).map(sighted).collect()
    }

    /// True if the other engine is connected and of a version that says nothing of checks.
    pub fn other_is_mute(&self) -> bool {
        matches!(self.other, Some((false, _)))
    }

    fn other_view(&self, config: &CheckConfig, now: Nanos) -> View {
        let heard = match &self.other {
            None => return View::unknown("not connected"),
            Some((false, _)) => return View::unknown("its version does not tell of checks"),
            Some((true, None)) => return View::unknown("nothing heard yet"),
            Some((true, Some(heard))) => heard,
        };
        if now.since(heard.at) > HEARD_FRESH {
            return View::unknown("not heard of for long");
        }
        let Some(report) = heard.reports.get(&config.name) else {
            return View::unknown("it has no such check");
        };
        // It may have begun before this engine's clock did.
        let age = Nanos::from_millis(report.age_ms.min(u64::MAX / 1_000_000)).plus(SLACK);
        let began = Nanos(heard.at.0.saturating_sub(age.0));
        if report.state != CheckState::Unknown && age.plus(now.since(heard.at)) > config.stale() {
            return View::unknown("no attempt has ended for long");
        }
        View { state: report.state, good: report.good, began: Some(began), reason: report.reason.clone() }
    }
}

/// Checks that an engine may have.
pub const CHECKS_MAX: usize = 64;

/// A reason, no longer than is told.
fn told(reason: &str) -> String {
    let printable = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut told = String::new();
    for c in printable {
        if told.len() + c.len_utf8() > SAID_MAX {
            break;
        }
        told.push(c);
    }
    told
}

#[cfg(test)]
mod tests;
