//! What the shell feeds in.

use super::Controller;
use crate::decision::Outcome;
use crate::io::{Input, Output};
use crate::message::Message;
use crate::vrrp::Heard;

impl Controller {
    pub(super) fn feed(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Assessment(assessment) => self.assess(assessment, out),
            Input::Traffic(traffic) => self.traffic(&traffic, out),
            Input::WorkersPolled(at) => self.ha.workers_polled(at),
            Input::ProbeReply { tunnel, sequence, reflector_sequence, rtt } => {
                if let Some(path) = self.health.get_mut(&tunnel) {
                    path.reply(self.now, sequence, reflector_sequence, rtt);
                }
            }
            Input::InboundInstalled { tunnel, generation } => {
                self.sas.inbound_installed(self.now, tunnel, generation, out);
            }
            Input::OutboundInstalled { tunnel, generation } => {
                self.sas.outbound_installed(tunnel, generation, out);
            }
            Input::Session { tunnel, up } => {
                self.sas.session(tunnel, up);
                if let Some(path) = self.health.get_mut(&tunnel).filter(|_| !up) {
                    path.reset();
                }
            }
            Input::Bfd { session, up, why } => self.neighbor_seen(session, up, why, out),
            Input::Advertised { from, priority, interval } => {
                self.advertised(Heard { from, priority, interval }, out);
            }
            Input::SaSoftLimit { tunnel } => self.sas.soft_limit(self.now, tunnel, out),
            Input::PeerUp { peer } => self.peer_up(&peer, out),
            Input::PeerDown { peer } => self.peer_down(&peer),
            Input::Message { peer, message } => self.message(&peer, &message, out),
            Input::Shadowing { missing } => self.sessions_missing = missing,
            Input::Mirror { own, report } => self.mirror_report(own, *report, out),
            Input::Check { check, began, outcome } => self.check_result(check, began, outcome, out),
            Input::StoreReady => self.store_ready(out),
            Input::StoreLost { reason } => self.store_lost(reason, out),
            Input::StoreChanged { region, whole, changes } => {
                self.store_changed(&region, whole, changes, out);
            }
            Input::Policy(policy) => self.change_policy(policy),
            Input::Command { id, command } => {
                let result = self.command(command, out);
                out.push(Output::Reply { id, result });
            }
            Input::Shutdown => self.shutdown(out),
        }
    }

    /// A neighbour that was heard and is not takes the tunnels over it down at once, without waiting for their probes. One that
    /// was never heard takes nothing down: it may not have been configured yet (RFC 5882 §3.2).
    fn neighbor_seen(&mut self, session: usize, up: bool, why: String, out: &mut Vec<Output>) {
        let Some(bfd) = self.config.bfd.get(session) else { return };
        let changed = if up { self.silent.remove(&session) } else { self.silent.insert(session) };
        if changed {
            let action = format!("neighbor {} {}", bfd.name, if up { "up" } else { "down" });
            let tunnels: Vec<String> = self
                .config
                .tunnels
                .iter()
                .filter(|tunnel| bfd.tunnels.contains(&tunnel.id))
                .map(|tunnel| tunnel.name.clone())
                .collect();
            let inputs = vec![("tunnels".to_owned(), tunnels.join(", "))];
            self.decide(action, format!("BFD: {why}"), inputs, Outcome::Done, out);
        }
    }

    fn peer_up(&mut self, name: &str, out: &mut Vec<Output>) {
        let peer = self.peers.entry(name.to_owned()).or_default();
        peer.connected = true;
        peer.gone = false;
        peer.parallel = false;
        peer.forget_reports();
        let mut send = |message| out.push(Output::Send { peer: name.to_owned(), message });
        send(self.ha.hello());
        if self.failure.raised_at().is_some() {
            send(Message::Alarm { site: self.config.site.clone(), raised: true });
        }
        if self.far.contains_key(name) && self.ha.is_owner() && self.shares_epoch == Some(self.ha.epoch()) {
            send(self.shares_message());
        }
        if self.ha.peer() == Some(name) {
            self.checks.disconnected();
        }
        self.ha.peer_up(self.now, name);
        self.sas.peer_up(name, out);
    }

    fn peer_down(&mut self, name: &str) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.connected = false;
        }
        if self.ha.peer() == Some(name) {
            self.checks.disconnected();
        }
        self.ha.peer_down(name);
        self.sas.peer_down(name);
    }

    fn message(&mut self, from: &str, message: &Message, out: &mut Vec<Output>) {
        if let Message::Hello { parallel: true, .. } = message {
            self.talks_of_tunnels(from, out);
        }
        match message {
            Message::Parallel { tunnel, says } => self.parallel(from, *tunnel, says, out),
            Message::SaOffer { .. } | Message::SaInUse { .. } | Message::SaRekey { .. } => {
                self.sas.message(self.now, from, message, out);
            }
            Message::PathReport { .. } => {
                if let Some(peer) = self.peers.get_mut(from) {
                    peer.report(self.now, message);
                }
            }
            Message::LeaseGrant { site, epoch, sequence } if *site == self.config.site => {
                self.ha.granted(self.now, from, *epoch, *sequence);
            }
            Message::LeaseRefused { site, sequence, epoch, owner } if *site == self.config.site => {
                self.ha.refused(self.now, from, *sequence, *epoch, owner.as_deref());
            }
            Message::Goodbye { .. } => self.goodbye(from),
            Message::SharesApplied { site, version } if *site == self.config.site => {
                if let Some(switchover) = &mut self.switchover {
                    switchover.applied(from, *version);
                }
            }
            Message::Vitals { busy, .. } => {
                if let Some(peer) = self.peers.get_mut(from) {
                    peer.says_busy(self.now, *busy);
                }
            }
            Message::LeaseGrant { .. } | Message::LeaseRefused { .. } | Message::SharesApplied { .. } => {}
            _ if self.ha.peer() == Some(from) => self.site_message(from, message, out),
            _ => self.far_message(from, message, out),
        }
    }

    /// From the other engine of our site, about our site.
    fn site_message(&mut self, from: &str, message: &Message, out: &mut Vec<Output>) {
        let (Message::Hello { site, .. }
        | Message::LeaseRequest { site, .. }
        | Message::LeaseTransfer { site, .. }
        | Message::ShiftRequest { site, .. }
        | Message::Checks { site, .. }
        | Message::Alarm { site, .. }) = message
        else {
            return;
        };
        if *site != self.config.site {
            return;
        }
        match message {
            Message::Hello { epoch, owner, checks, .. } => {
                if !self.checks.is_told_by_other() {
                    self.checks.connected(*checks);
                }
                self.ha.heard_hello(self.now, from, *epoch, owner.as_deref());
            }
            Message::LeaseRequest { .. } => self.vote(from, message, out),
            Message::LeaseTransfer { site, epoch, to } => {
                self.ha.transferred(self.now, from, site, *epoch, to);
            }
            Message::ShiftRequest { reason, undoes, .. } => self.asked_to_shift(from, reason, *undoes, out),
            Message::Checks { checks, .. } => self.checks.heard(self.now, checks),
            Message::Alarm { raised, .. } => {
                if let Some(peer) = self.peers.get_mut(from) {
                    peer.says_alarm(self.now, *raised);
                }
            }
            _ => {}
        }
    }

    /// From an engine of a far site, about that site.
    fn far_message(&mut self, from: &str, message: &Message, out: &mut Vec<Output>) {
        let Some(far_site) = self.far.get(from).cloned() else { return };
        if let (Message::Alarm { raised, .. }, Some(peer)) = (message, self.peers.get_mut(from)) {
            peer.says_alarm(self.now, *raised);
        }
        let Some(view) = self.sites.get_mut(&far_site) else { return };
        match message {
            Message::Hello { site, epoch, owner, .. } if *site == far_site => {
                view.hello(from, *epoch, owner.as_deref());
                if let Some(owner) = owner {
                    self.ha.witnessed(self.now, site, owner, *epoch);
                }
            }
            Message::LeaseRequest { site, .. } if *site == far_site => self.vote(from, message, out),
            Message::LeaseTransfer { site, epoch, to } if *site == far_site => {
                view.handover(from, *epoch, to);
                self.ha.transferred(self.now, from, site, *epoch, to);
            }
            Message::SetShares { site, epoch, version, shares, within_ms } if *site == far_site => {
                let accepted = view.set_shares(from, *epoch, *version, shares);
                if accepted {
                    view.hurry(*within_ms);
                    self.ha.witnessed(self.now, site, from, *epoch);
                }
                let message = Message::SharesApplied { site: far_site, version: *version };
                self.after.extend(accepted.then(|| Output::Send { peer: from.to_owned(), message }));
            }
            _ => {}
        }
    }

    fn vote(&mut self, from: &str, message: &Message, out: &mut Vec<Output>) {
        if let Some(answer) = self.ha.lease_request(self.now, from, message) {
            out.push(Output::Send { peer: from.to_owned(), message: answer });
        }
    }

    fn goodbye(&mut self, from: &str) {
        if let Some(peer) = self.peers.get_mut(from) {
            peer.gone = true;
            peer.forget_reports();
        }
        for tunnel in self.config.tunnels.iter().filter(|t| t.peer == from) {
            if let Some(path) = self.health.get_mut(&tunnel.id) {
                path.reset();
            }
        }
        self.ha.goodbye(from);
        if let Some(view) = self.far.get(from).and_then(|site| self.sites.get_mut(site)) {
            view.goodbye(from);
        }
    }
}
