//! An SA pair of a site, with a peer that cannot have one for each engine, at one of the engines that may have it. It says
//! what its worker and the shadows are to be told, and when; keys and disks are others' business.
//!
//! Taking it goes in steps: the window to go on with is found (the exact one of an engine that hands over is worth waiting
//! for); the worker opens what comes but accepts nothing new; the shadows write down what is reserved, both ways; then the
//! worker sends, and accepts up to the limit. The limit stays as little ahead as what comes allows, because a crash makes
//! everything up to it unusable. Nothing of that loses a packet: the worker keeps what it cannot open, accept or seal yet.

use super::sas::{Floor, KeyId, SaState, SaWindow, ShadowedSas, patience, to_keep, unheard};
use crate::message::SaParameters;
use dataplane::id::{Nanos, Spi};
use dataplane::replay::{ReplayWindow, WindowSize};
use dataplane::sa::Partition;

#[cfg(test)]
mod tests;

/// How long a shadow that is connected may take to write down what is reserved for sending.
const PATIENCE: Nanos = Nanos::from_millis(2_000);
/// How long an owner whose shadow is gone waits for it before it sends more than the shadow knows of.
const ALONE: Nanos = Nanos::from_millis(10_000);
/// How long a shadow that is connected may take to note a limit, at least.
const NOTED: Nanos = Nanos::from_millis(250);
/// How long the exact window of an engine that hands over is waited for, while that engine is heard.
const HANDOVER: Nanos = Nanos::from_millis(500);
/// A shadow that has heard nothing for longer does not know what its engine has reserved since.
const TRUSTED: Nanos = Nanos::from_millis(5_000);
/// Numbers that it leaves out then.
const BLIND: u64 = 1 << 26;

/// What does not change.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The key of what arrives.
    pub key_in: KeyId,
    /// The key of what leaves.
    pub key_out: KeyId,
    /// The SPI of what arrives.
    pub spi_in: Spi,
    /// The SPI of what leaves.
    pub spi_out: Spi,
    /// Algorithm and sequence numbers.
    pub parameters: SaParameters,
    /// Of the replay window.
    pub size: WindowSize,
}

/// What is to be done, in order.
#[derive(Debug)]
pub enum Action {
    /// The worker receives with this window.
    InstallInbound(ReplayWindow),
    /// The worker accepts no number above this, and says what is in force.
    Limit(u64),
    /// The disk says that numbers up to this may have been accepted, before the next action.
    Keep(u64),
    /// The worker sends within this part of the key.
    InstallOutbound(Partition),
    /// The worker lets go of both.
    Remove,
    /// The shadows write this down; then [`SiteSa::settled`] is told under this ticket.
    Reserve(u64, SaState),
    /// The shadows note this limit and this rate; if there is a ticket, [`SiteSa::settled`] is told.
    Announce(Option<u64>, u64, u32),
    /// The shadows note that exactly this was accepted.
    Released(SaWindow),
}

/// Numbers that an engine which has heard another one `silence` ago leaves out of a key: what that one may have taken unheard.
pub fn left_out(silence: Option<Nanos>) -> u64 {
    if silence.is_some_and(|silence| silence > TRUSTED) { BLIND } else { 0 }
}

/// Something that the shadows are asked to note.
#[derive(Clone, Copy, Debug)]
struct Asked {
    ticket: u64,
    since: Nanos,
    /// Whether a shadow has noted it, once that is known.
    noted: Option<bool>,
    limit: u64,
}

/// A part of the key that may not be used yet.
#[derive(Clone, Copy, Debug)]
struct Taking {
    part: Partition,
    since: Nanos,
    /// How long an engine without a shadow waits for one.
    alone: Nanos,
    asked: Option<Asked>,
}

/// The inbound SA at the worker.
#[derive(Clone, Copy, Debug)]
struct Inbound {
    /// The worker accepts nothing above this.
    limit: u64,
    /// The highest number that came.
    reached: u64,
    asked: Option<Asked>,
    /// The worker was told to accept less, and has not said that it does.
    sinking: bool,
}

/// What a new process finds on its disk, of all the engines that may have the SA.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    /// No number of what comes above this was accepted.
    pub accepted: u64,
    /// Numbers of what leaves from here on are nobody's yet.
    pub free: u64,
}

/// See the module.
#[derive(Debug)]
pub struct SiteSa {
    about: About,
    pace: Pace,
    inbound: Option<Inbound>,
    taking: Option<Taking>,
    /// It is this engine's.
    owned: bool,
    /// The worker was told to let go of the inbound SA, and has not yet.
    leaving: bool,
    /// Where this engine itself has ended, how fast it was, and when.
    last: Option<(SaWindow, u32, Nanos)>,
    began: Disk,
    /// The disk says that no number above this was accepted.
    kept: u64,
    /// Since when no shadow notes anything.
    alone_since: Option<Nanos>,
    tickets: u64,
}

impl SiteSa {
    /// One that nobody here uses yet.
    pub fn new(about: About, began: Disk) -> SiteSa {
        SiteSa {
            about,
            began,
            kept: began.accepted,
            pace: Pace::default(),
            inbound: None,
            taking: None,
            owned: false,
            leaving: false,
            last: None,
            alone_since: None,
            tickets: 0,
        }
    }

    /// What does not change.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// It is this engine's.
    pub fn is_owned(&self) -> bool {
        self.owned
    }

    /// A further part of the key may be taken now.
    pub fn may_renew(&self) -> bool {
        self.owned && self.taking.is_none()
    }

    /// Takes it, or a further part of its key. `part` was written down here.
    pub fn take(&mut self, part: Partition, now: Nanos) {
        // Whoever takes over from an engine that is gone has nobody to wait for.
        let alone = if self.owned { ALONE } else { Nanos(0) };
        if !self.owned {
            self.alone_since = Some(Nanos(0));
        }
        self.owned = true;
        self.taking = Some(Taking { part, since: now, alone, asked: None });
    }

    /// It is another engine's from now on.
    pub fn release(&mut self, actions: &mut Vec<Action>) {
        (self.owned, self.taking) = (false, None);
        if self.inbound.take().is_some() {
            self.leaving = true;
            actions.push(Action::Remove);
        }
    }

    /// The worker has let go of the inbound SA, and has accepted exactly this.
    pub fn retired(&mut self, window: SaWindow, now: Nanos, actions: &mut Vec<Action>) {
        if std::mem::take(&mut self.leaving) {
            actions.push(Action::Released(window.clone()));
            self.last = Some((window, self.pace.rate(now), now));
        }
    }

    /// So far it has come at the worker: accepted, or waiting for the limit.
    pub fn reached(&mut self, reached: u64, now: Nanos) {
        if let Some(inbound) = &mut self.inbound {
            self.pace.note(reached, now);
            inbound.reached = inbound.reached.max(reached);
        }
    }

    /// This limit is in force at the worker.
    pub fn limited(&mut self, limit: u64, now: Nanos, actions: &mut Vec<Action>) {
        if let Some(inbound) = self.inbound.as_mut().filter(|inbound| inbound.sinking) {
            (inbound.sinking, inbound.limit) = (false, limit);
            actions.push(Action::Announce(None, limit, self.pace.rate(now)));
        }
    }

    /// Every shadow that is connected has noted what it was asked to under this ticket; false if none is.
    pub fn settled(&mut self, ticket: u64, noted: bool, now: Nanos) {
        let of_inbound = self.inbound.as_mut().and_then(|inbound| inbound.asked.as_mut());
        let of_part = self.taking.as_mut().and_then(|taking| taking.asked.as_mut());
        for asked in of_inbound.into_iter().chain(of_part).filter(|asked| asked.ticket == ticket) {
            asked.noted = Some(noted);
        }
        self.alone_since = if noted { None } else { self.alone_since.or(Some(now)) };
    }

    /// Goes on with what is due. `known` is what the site's other engine has said.
    pub fn tick(&mut self, now: Nanos, known: Option<&ShadowedSas>, actions: &mut Vec<Action>) {
        if !self.owned || self.leaving {
            return;
        }
        if self.inbound.is_none() && !self.open(now, known, actions) {
            return;
        }
        self.go_on_taking(now, actions);
        if self.taking.is_none() {
            self.go_on_receiving(now, actions);
        }
    }

    /// Opens what comes, from where it goes on. False while it is worth waiting for the exact window.
    fn open(&mut self, now: Nanos, known: Option<&ShadowedSas>, actions: &mut Vec<Action>) -> bool {
        let since = self.taking.map_or(now, |taking| taking.since);
        let Some(mut window) = self.window(now, known, since) else { return false };
        let top = window.top();
        // What came late counts as well: who dies before its shadow knows that it had the SA may have accepted it.
        window.close();
        self.pace = Pace::default();
        self.inbound = Some(Inbound { limit: top, reached: top, asked: None, sinking: false });
        actions.push(Action::InstallInbound(window));
        true
    }

    fn window(&self, now: Nanos, known: Option<&ShadowedSas>, since: Nanos) -> Option<ReplayWindow> {
        let (size, esn) = (self.about.size, self.about.parameters.esn);
        let heard = known.is_some_and(|sas| sas.is_heard(now));
        let own = match &self.last {
            Some((own, ..)) => own.top,
            None if self.is_told_of_all(known) => 0,
            None => self.began.accepted,
        };
        let above = match known.and_then(|sas| sas.floor(self.about.key_in, now)) {
            Some(Floor::Exact(window)) if window.top > own || own == 0 => {
                return Some(ReplayWindow::resumed(&window, size, esn));
            }
            // Whoever had it last may have accepted late ones alone, and nothing says who that was.
            Some(Floor::Exact(window)) if window.top == own => {
                return Some(ReplayWindow::above(own, size, esn));
            }
            Some(Floor::Above(_)) if heard && now.since(since) < HANDOVER => return None,
            Some(Floor::Above(above)) => above.max(own),
            Some(Floor::Exact(_)) | None => own,
        };
        let Some((own, rate, ended)) = &self.last else {
            return Some(if above > 0 {
                ReplayWindow::above(above, size, esn)
            } else {
                ReplayWindow::new(size, esn)
            });
        };
        // Unheard, the other engine may have had it since.
        let silence = known.and_then(|sas| sas.silence(now)).unwrap_or(Nanos::MAX).min(now.since(*ended));
        let own_above = own.top.saturating_add(if heard { 0 } else { unheard(*rate, silence) });
        Some(match above.max(own_above) {
            above if heard && above == own.top => ReplayWindow::resumed(own, size, esn),
            above => ReplayWindow::above(above, size, esn),
        })
    }

    /// Whether the other engine has had the SA after this engine's former life: then it knows what that one accepted, and more
    /// exactly than the disk. Who has it later has reserved higher numbers.
    fn is_told_of_all(&self, known: Option<&ShadowedSas>) -> bool {
        let said = known.and_then(|sas| sas.state(self.about.key_in));
        said.is_some_and(|said| said.reserved >= self.began.free)
    }

    fn go_on_taking(&mut self, now: Nanos, actions: &mut Vec<Action>) {
        let (Some(mut taking), Some(inbound)) = (self.taking, self.inbound) else { return };
        let Some(asked) = taking.asked else {
            if inbound.asked.is_some() || inbound.sinking {
                self.go_on_receiving(now, actions);
                return;
            }
            let limit = inbound.limit.max(inbound.reached + self.pace.ahead(now));
            let asked = self.ask(limit, now);
            taking.asked = Some(asked);
            self.taking = Some(taking);
            actions.push(Action::Reserve(asked.ticket, self.state(taking.part, limit, now)));
            return;
        };
        let waited = now.since(taking.since);
        let may = match asked.noted {
            Some(true) => true,
            Some(false) => waited >= taking.alone,
            None => waited >= PATIENCE.max(taking.alone),
        };
        if may {
            self.taking = None;
            actions.push(Action::InstallOutbound(taking.part));
            self.raise(asked.limit, actions);
        }
    }

    fn state(&mut self, part: Partition, limit: u64, now: Nanos) -> SaState {
        let About { key_in, key_out, spi_in, spi_out, parameters, .. } = self.about;
        let (epoch, reserved) = (part.epoch.get(), part.first + part.count);
        SaState {
            key_in,
            key_out,
            spi_in,
            spi_out,
            parameters,
            epoch,
            reserved,
            limit,
            rate: self.pace.rate(now),
        }
    }

    fn ask(&mut self, limit: u64, now: Nanos) -> Asked {
        self.tickets += 1;
        Asked { ticket: self.tickets, since: now, noted: None, limit }
    }

    fn raise(&mut self, limit: u64, actions: &mut Vec<Action>) {
        if let Some(inbound) = self.inbound.as_mut().filter(|inbound| limit > inbound.limit) {
            inbound.limit = limit;
            if limit > self.kept {
                self.kept = to_keep(limit, self.pace.last_rate());
                actions.push(Action::Keep(self.kept));
            }
            actions.push(Action::Limit(limit));
        }
    }

    /// Keeps the limit a little ahead of what comes.
    fn go_on_receiving(&mut self, now: Nanos, actions: &mut Vec<Action>) {
        let Some(mut inbound) = self.inbound else { return };
        let (ahead, rate) = (self.pace.ahead(now), self.pace.rate(now));
        if let Some(asked) = inbound.asked {
            if !self.may_rise(asked, rate, now) {
                return;
            }
            inbound.asked = None;
            self.inbound = Some(inbound);
            self.raise(asked.limit, actions);
            inbound.limit = inbound.limit.max(asked.limit);
        }
        if inbound.sinking || self.taking.is_some() {
            return;
        }
        let left = inbound.limit.saturating_sub(inbound.reached);
        if left <= ahead / 2 {
            let limit = inbound.reached + ahead;
            let asked = self.ask(limit, now);
            inbound.asked = Some(asked);
            actions.push(Action::Announce(Some(asked.ticket), limit, rate));
        } else if left > 2 * ahead {
            inbound.sinking = true;
            actions.push(Action::Limit(inbound.reached + ahead));
        }
        self.inbound = Some(inbound);
    }

    fn may_rise(&mut self, asked: Asked, rate: u32, now: Nanos) -> bool {
        match asked.noted {
            Some(true) => true,
            Some(false) => self.alone_since.is_none_or(|since| now.since(since) >= patience(rate)),
            None if now.since(asked.since) >= patience(rate).max(NOTED) => {
                self.alone_since.get_or_insert(asked.since);
                true
            }
            None => false,
        }
    }
}

/// How fast sequence numbers come, by how many came in each of the last periods.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    counts: [u64; Pace::PERIODS],
    period: u64,
    top: u64,
}

impl Pace {
    const PERIODS: usize = 16;
    const PERIOD: Nanos = Nanos::from_millis(250);
    const A_SECOND: u64 = 1_000_000_000 / Pace::PERIOD.0;

    /// The highest number is `top` by now.
    pub fn note(&mut self, top: u64, now: Nanos) {
        self.pass(now);
        if self.top > 0 {
            self.counts[self.period as usize % Pace::PERIODS] += top.saturating_sub(self.top);
        }
        self.top = self.top.max(top);
    }

    fn pass(&mut self, now: Nanos) {
        let period = now.0 / Pace::PERIOD.0;
        for passed in (self.period + 1..=period).rev().take(Pace::PERIODS) {
            self.counts[passed as usize % Pace::PERIODS] = 0;
        }
        self.period = self.period.max(period);
    }

    fn most(&mut self, now: Nanos) -> u64 {
        self.pass(now);
        self.counts.iter().copied().max().unwrap_or(0)
    }

    /// Numbers that are reserved ahead: two, or what comes in half a second.
    pub fn ahead(&mut self, now: Nanos) -> u64 {
        self.most(now).max(1).saturating_mul(2)
    }

    fn last_rate(&self) -> u32 {
        self.clone().rate(Nanos(0))
    }

    /// Numbers in a second: the fastest period counts as if it went on, a single number does not.
    pub fn rate(&mut self, now: Nanos) -> u32 {
        let rate = match self.most(now) {
            0 | 1 => self.counts.iter().sum::<u64>().div_ceil(Pace::PERIODS as u64 / Pace::A_SECOND),
            most => most.saturating_mul(Pace::A_SECOND),
        };
        u32::try_from(rate).unwrap_or(u32::MAX)
    }
}
