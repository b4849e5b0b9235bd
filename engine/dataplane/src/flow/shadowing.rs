//! A table's sessions at other engines, and copies of theirs in it. See [`crate::shadow`].

use super::session::{NewSession, Session, SessionKey, Slot};
use super::state::Timeouts;
use super::table::{Full, SessionId, SessionTable, WhenFull, second};
use super::tuple::Upper;
use crate::id::Nanos;
use crate::shadow::{FlowChange, FlowState, Origin, Report};
use sync::ring::Producer;

/// Seconds that a copy outlives its original: it is refreshed only when the original's deadline has passed, and a sweep
/// takes a second.
const GRACE: u16 = 10;
/// The generation of no access list: the rules of this engine are asked before a copy's first packet passes.
const UNASKED: u32 = u32::MAX;
/// Slots looked at for a round in one poll.
const ROUND_STEP: usize = 256;
/// Reports that a round leaves room for: what changes meanwhile goes first.
const ROUND_ROOM: usize = 1 << 12;
/// Slots looked at for copies to be forgotten in one poll, and how many of them are.
const FORGET_STEP: usize = 2048;
const FORGOTTEN: usize = 32;

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// It is here, where there was nothing.
    New,
    /// It was here, and is up to date.
    Updated,
    /// It is native here and no packet passed there later: only what was seen of it there was added.
    Native,
}

/// The shadowing of one table.
pub struct Shadowing {
    reports: Producer<Report>,
    /// By slot.
    origins: Box<[Origin]>,
    now: Nanos,
    /// Idle times of copies count from this second on.
    renewed: Option<u16>,
    /// The round that is reported, and the next slot of it.
    round: Option<(u8, usize)>,
    /// Copies to be forgotten, and the next slot to look at.
    forgetting: Option<(Origin, usize)>,
}

impl Shadowing {
    /// Of the sessions in a table of `capacity`, which are reported to `reports`.
    pub fn new(reports: Producer<Report>, capacity: usize) -> Shadowing {
        let origins = vec![Origin::NATIVE; capacity].into();
        Shadowing { reports, origins, now: Nanos(0), renewed: None, round: None, forgetting: None }
    }

    /// Since when a session has been idle, and how long it may be.
    pub(super) fn lifetime(&self, slot: usize, seen: u16, timeout: u16) -> (u16, u16) {
        if self.origins[slot].is_native() {
            return (seen, timeout);
        }
        let later = |renewed: &u16| renewed.wrapping_sub(seen) < u16::MAX / 2;
        (self.renewed.filter(later).unwrap_or(seen), timeout.saturating_add(GRACE))
    }

    fn report(&mut self, change: FlowChange) {
        // A full ring counts what it refuses: a round makes up for it.
        let _ = self.reports.push(Report::Flow(self.now, change));
    }
}

impl Session {
    fn state(&self, now: u16) -> FlowState {
        FlowState { key: self.key, track: self.track, idle: now.wrapping_sub(self.seen), input: self.input }
    }
}

impl SessionTable {
    /// Shadows this table from now on.
    pub fn shadow(&mut self, reports: Producer<Report>) {
        self.shadowing = Some(Box::new(Shadowing::new(reports, self.slots.len())));
    }

    /// Not shadowed any more.
    #[must_use]
    pub fn unshadowed(mut self) -> SessionTable {
        self.shadowing = None;
        self
    }

    /// Reports that still find room.
    pub fn report_room(&self) -> usize {
        self.shadowing.as_ref().map_or(0, |shadowing| shadowing.reports.free())
    }

    /// Reports a session that has changed, if it is native.
    #[inline]
    pub(super) fn tell_live(&mut self, id: SessionId) {
        if self.shadowing.is_some() {
            self.report_live(id);
        }
    }

    #[cold]
    fn report_live(&mut self, SessionId(slot): SessionId) {
        if let (Some(shadowing), Slot::Live(session)) = (&mut self.shadowing, &self.slots[slot as usize])
            && shadowing.origins[slot as usize].is_native()
        {
            let state = session.state(second(shadowing.now));
            shadowing.report(FlowChange::Live(state));
        }
    }

    /// Reports a session that has ended, if it was native.
    #[inline]
    pub(super) fn tell_ended(&mut self, SessionId(slot): SessionId, key: &SessionKey) {
        if let Some(shadowing) = &mut self.shadowing {
            let origin = std::mem::replace(&mut shadowing.origins[slot as usize], Origin::NATIVE);
            if origin.is_native() {
                shadowing.report(FlowChange::Ended(*key));
            }
        }
    }

    /// A packet of a session has passed the rules of this engine: from now on it is native. True if it was a copy.
    pub fn adopt(&mut self, id: SessionId) -> bool {
        let Some(shadowing) = &mut self.shadowing else { return false };
        let Some(origin) = shadowing.origins.get_mut(id.0 as usize) else { return false };
        let was_copy = !std::mem::replace(origin, Origin::NATIVE).is_native();
        if was_copy {
            self.tell_live(id);
        }
        was_copy
    }

    /// The entry of exactly this session, and whose it is.
    pub fn of_key(&self, key: &SessionKey) -> Option<(SessionId, Origin)> {
        let id = self.lookup(&key.forward())?.id;
        let shadowing = self.shadowing.as_ref()?;
        (self.get(id)?.key == *key).then(|| (id, shadowing.origins[id.0 as usize]))
    }

    /// All sessions that are this engine's own.
    pub fn own(&self, now: Nanos) -> impl Iterator<Item = FlowState> + '_ {
        let native = move |slot: usize| {
            self.shadowing.as_ref().is_none_or(|shadowing| shadowing.origins[slot].is_native())
        };
        self.slots.iter().enumerate().filter_map(move |(at, slot)| match slot {
            Slot::Live(session) if native(at) => Some(session.state(second(now))),
            _ => None,
        })
    }

    /// Has a session that another process of this engine had. The rules of this one are asked with its next packet.
    ///
    /// # Errors
    /// If there is no room, or another session has one of its tuples.
    pub fn resume(&mut self, state: &FlowState, now: Nanos) -> Result<(), Full> {
        let taken = |tuple| self.lookup(&tuple).is_some();
        if taken(state.key.forward()) || taken(state.key.reverse()) {
            return Err(Full);
        }
        let seen = second(now).wrapping_sub(state.idle.min(Timeouts::MAX));
        self.install_new(state, Origin::NATIVE, seen, now).map(drop)
    }

    /// Has a copy of another engine's session. A native one becomes a copy if its packets pass there by now; no other
    /// session is displaced.
    ///
    /// # Errors
    /// If there is no room, or another session has one of its tuples.
    pub fn install(&mut self, state: &FlowState, origin: Origin, now: Nanos) -> Result<Installed, Full> {
        let seen = second(now).wrapping_sub(state.idle.min(Timeouts::MAX));
        if let Some((id, was)) = self.of_key(&state.key) {
            let (Slot::Live(session), Some(shadowing)) =
                (&mut self.slots[id.0 as usize], &mut self.shadowing)
            else {
                return Err(Full);
            };
            let later = seen.wrapping_sub(session.seen);
            if was.is_native() {
                session.track = session.track.or(state.track);
                if later == 0 || later > u16::MAX / 2 {
                    return Ok(Installed::Native);
                }
                // Its packets go through the other engine now; one that comes here is asked about again.
                (session.generation, session.rule) = (UNASKED, u32::MAX);
            } else {
                session.track = state.track;
            }
            shadowing.origins[id.0 as usize] = origin;
            session.seen = seen;
            self.deadlines[id.0 as usize] = seen;
            return Ok(Installed::Updated);
        }
        let taken = |tuple| self.lookup(&tuple).is_some();
        if self.shadowing.is_none() || taken(state.key.forward()) || taken(state.key.reverse()) {
            return Err(Full);
        }
        self.install_new(state, origin, seen, now)
    }

    fn install_new(
        &mut self,
        state: &FlowState,
        origin: Origin,
        seen: u16,
        now: Nanos,
    ) -> Result<Installed, Full> {
        let (generation, input) = (UNASKED, state.input);
        let new = NewSession { key: state.key, upper: Upper::Other, generation, rule: u32::MAX, input };
        let policy = std::mem::replace(&mut self.config.when_full, WhenFull::DropNew);
        // Not reported: it is none of ours.
        let shadowing = self.shadowing.take();
        let inserted = self.insert(&new, now, |_| {});
        (self.shadowing, self.config.when_full) = (shadowing, policy);
        let slot = inserted?.0 as usize;
        if let Slot::Live(session) = &mut self.slots[slot] {
            (session.track, session.seen, session.forward_packets) = (state.track, seen, 0);
            // The next sweep works out when it really ends.
            self.deadlines[slot] = seen;
        }
        if let Some(shadowing) = &mut self.shadowing {
            shadowing.origins[slot] = origin;
        }
        Ok(Installed::New)
    }

    /// Ends the copy of a session whose original, at the engine of `origin`, has ended.
    pub fn end_copy(&mut self, key: &SessionKey, origin: Origin) -> Option<Session> {
        let (id, was) = self.of_key(key)?;
        if was.is_native() || !was.same_source(origin) { None } else { self.remove(id) }
    }

    /// Reports all native sessions as `round`, from the next poll on.
    pub fn report_all(&mut self, round: u8) {
        if let Some(shadowing) = &mut self.shadowing {
            shadowing.round = Some((round, 0));
        }
    }

    /// Forgets copies of the engine of `origin` that another round named last, from the next poll on.
    pub fn forget(&mut self, origin: Origin) {
        if let Some(shadowing) = &mut self.shadowing {
            shadowing.forgetting = Some((origin, 0));
        }
    }

    /// Idle times of copies count from now on.
    pub fn renew_copies(&mut self, now: Nanos) {
        if let Some(shadowing) = &mut self.shadowing {
            shadowing.renewed = Some(second(now));
        }
    }

    /// Goes on with a round and with forgetting, once a poll. Copies that are forgotten are given to `ended`.
    #[inline]
    pub fn shadow_step(&mut self, now: Nanos, ended: impl FnMut(Session)) {
        let Some(shadowing) = &mut self.shadowing else { return };
        shadowing.now = now;
        if shadowing.round.is_some() {
            self.round_step(now);
        }
        if self.shadowing.as_ref().is_some_and(|shadowing| shadowing.forgetting.is_some()) {
            self.forget_step(ended);
        }
    }

    fn round_step(&mut self, now: Nanos) {
        let Some(shadowing) = &mut self.shadowing else { return };
        let Some((round, from)) = shadowing.round else { return };
        let end = (from + ROUND_STEP).min(self.slots.len());
        if shadowing.reports.free() < ROUND_ROOM + ROUND_STEP {
            return;
        }
        for slot in from..end {
            if let Slot::Live(session) = &self.slots[slot]
                && shadowing.origins[slot].is_native()
            {
                shadowing.report(FlowChange::Live(session.state(second(now))));
            }
        }
        shadowing.round = Some((round, end));
        if end == self.slots.len() {
            shadowing.round = None;
            let _ = shadowing.reports.push(Report::RoundEnds(round));
        }
    }

    fn forget_step(&mut self, mut ended: impl FnMut(Session)) {
        let Some((origin, from)) = self.shadowing.as_ref().and_then(|shadowing| shadowing.forgetting) else {
            return;
        };
        let end = (from + FORGET_STEP).min(self.slots.len());
        let (mut slot, mut left) = (from, FORGOTTEN);
        while slot < end && left > 0 {
            let was = self.shadowing.as_ref().map_or(Origin::NATIVE, |shadowing| shadowing.origins[slot]);
            if !was.is_native() && was.same_source(origin) && was != origin {
                self.remove(SessionId(slot as u32)).into_iter().for_each(&mut ended);
                left -= 1;
            }
            slot += 1;
        }
        if let Some(shadowing) = &mut self.shadowing {
            shadowing.forgetting = (slot < self.slots.len()).then_some((origin, slot));
        }
    }
}
