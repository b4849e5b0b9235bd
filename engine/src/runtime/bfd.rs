//! What workers said of the neighbours that are watched (RFC 5880).

use super::engine::Engine;
use crate::api::status::BfdStatus;
use control::io::Input;
use dataplane::wire::bfd::{Diagnostic, State};
use std::collections::BTreeMap;

/// The last word of each session, by its place in the configuration.
pub type BfdStates = BTreeMap<usize, (State, Diagnostic)>;

impl Engine {
    /// A session's state has changed.
    pub fn bfd_changed(&mut self, session: usize, state: State, diagnostic: Diagnostic) {
        let before = self.bfd.insert(session, (state, diagnostic)).map(|(state, _)| state);
        // On its way up it was down already.
        if state == State::Up || before == Some(State::Up) {
            self.input(Input::Bfd { session, up: state == State::Up, why: said(state, diagnostic).into() });
        }
    }

    /// All sessions, for people.
    pub fn bfd_status(&self) -> Vec<BfdStatus> {
        let sessions = self.plan.forwarding.bfd.iter().zip(&self.plan.controller.bfd).enumerate();
        sessions
            .map(|(place, (session, told))| {
                let (state, diagnostic) = self.bfd.get(&place).copied().unwrap_or_default();
                let tunnel = |id: &dataplane::id::TunnelId| self.plan.tunnels[id.index()].name.clone();
                BfdStatus {
                    name: told.name.clone(),
                    interface: self.plan.interface_names[session.interface.index()].clone(),
                    remote: session.remote,
                    state: name(state).into(),
                    diagnostic: said(state, diagnostic).into(),
                    interval_ms: session.interval.as_millis() as u64,
                    multiplier: session.multiplier,
                    tunnels: told.tunnels.iter().map(tunnel).collect(),
                }
            })
            .collect()
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::AdminDown => "admin-down",
        State::Down => "down",
        State::Init => "init",
        State::Up => "up",
    }
}

/// RFC 5880 §4.1, for people.
fn said(state: State, diagnostic: Diagnostic) -> &'static str {
    match (state, diagnostic) {
        (State::Up, _) => "it answers",
        (_, Diagnostic::TIMED_OUT) => "nothing was heard of it in time",
        (_, Diagnostic::NEIGHBOR_DOWN) => "it says that the session is down",
        _ => "it has not answered yet",
    }
}
