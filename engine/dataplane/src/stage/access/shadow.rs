//! Copies of other engines' sessions, with their NAT bindings.

use super::{Sessions, ended};
use crate::flow::{Installed, SessionKey};
use crate::id::Nanos;
use crate::shadow::{Batch, FlowState, Origin, Task, WorkerShadow};
use crate::telemetry::Counters;

impl Sessions {
    /// The same, shadowed through `links`.
    #[must_use]
    pub fn shadowed(mut self, links: WorkerShadow) -> Sessions {
        self.table.shadow(links.reports);
        self.asked = Some(links.asks);
        self
    }

    /// One batch of what other engines say, and a part of what was begun: once a poll.
    #[inline]
    pub(super) fn shadow_poll(&mut self, now: Nanos, counters: &Counters) {
        if self.asked.is_none() {
            return;
        }
        let Sessions { table, nat, ends, .. } = self;
        table.shadow_step(now, |session| {
            *ends += 1;
            ended(nat, &session, counters);
        });
        if let Some(batch) = self.asked.as_mut().and_then(|asked| asked.batches.pop()) {
            self.carry_out(&batch, now, counters);
            if let Some(asked) = &mut self.asked {
                // There is room for every batch that there is.
                let _ = asked.done.push(batch);
            }
        }
    }

    #[cold]
    fn carry_out(&mut self, batch: &Batch, now: Nanos, counters: &Counters) {
        for task in &batch.tasks {
            match task {
                Task::Install(state, origin) => self.install(state, *origin, now, counters),
                Task::End(key, origin) => self.end_copy(key, *origin, counters),
                Task::Forget(origin) => self.table.forget(*origin),
                Task::Renew => self.table.renew_copies(now),
                Task::Report(round) => self.table.report_all(*round),
            }
        }
    }

    fn install(&mut self, state: &FlowState, origin: Origin, now: Nanos, counters: &Counters) {
        let is_new = self.table.of_key(&state.key).is_none();
        // The binding first: without it answers would not come through.
        let claimed = is_new && state.key.is_translated();
        if claimed && !self.nat.as_mut().is_some_and(|nat| nat.claim(&state.key)) {
            counters.sessions.copies_refused.add(1);
            return;
        }
        match self.table.install(state, origin, now) {
            Ok(Installed::New) => {
                counters.sessions.begun.add(1);
                counters.sessions.copied.add(1);
            }
            Ok(Installed::Updated | Installed::Native) => {}
            Err(_) => {
                counters.sessions.copies_refused.add(1);
                if claimed && let Some(nat) = &mut self.nat {
                    nat.release(&state.key);
                }
            }
        }
        if claimed && let Some(nat) = &self.nat {
            counters.sessions.nat_ports.set(nat.usage().0 as u64);
        }
    }

    /// All sessions that are this engine's own.
    pub fn own(&self, now: Nanos) -> impl Iterator<Item = FlowState> + '_ {
        self.table.own(now)
    }

    /// Has a session, with its NAT binding, that another process of this engine had. False if there is no room for it.
    pub fn resume(&mut self, state: &FlowState, now: Nanos, counters: &Counters) -> bool {
        let translated = state.key.is_translated();
        if translated && !self.nat.as_mut().is_some_and(|nat| nat.claim(&state.key)) {
            return false;
        }
        let resumed = self.table.resume(state, now).is_ok();
        if let Some(nat) = self.nat.as_mut().filter(|_| translated) {
            if !resumed {
                nat.release(&state.key);
            }
            counters.sessions.nat_ports.set(nat.usage().0 as u64);
        }
        counters.sessions.begun.add(u64::from(resumed));
        resumed
    }

    fn end_copy(&mut self, key: &SessionKey, origin: Origin, counters: &Counters) {
        if let Some(session) = self.table.end_copy(key, origin) {
            self.ends += 1;
            ended(&mut self.nat, &session, counters);
        }
    }
}
