//! What this engine shares through the state store, and what it makes of what it finds there. The store decides nothing:
//! without it everything goes on, but planned moves wait, as nobody else would learn of them.

use super::Controller;
use crate::config::{ClusterConfig, Protocol, TunnelConfig};
use crate::decision::Outcome;
use crate::io::Output;
use crate::message::Message;
use crate::shared::{Known, StoreState};
use crate::state::{
    ApplianceHealth, ConfigRecord, Expected, Record, RiskScore, RoutingIntent, SessionState, StateChange,
    StateKey, Topic, TunnelRecord,
};
use dataplane::id::Nanos;

/// How often this engine looks whether what it shares has changed.
const LOOK: Nanos = Nanos::from_millis(100);
/// How often health and risk, which change all the time, are written.
const VITALS: Nanos = Nanos::from_millis(1000);

impl Controller {
    pub(super) fn store_ready(&mut self, out: &mut Vec<Output>) {
        let Some(shared) = &mut self.shared else { return };
        let first = matches!(shared.state, StoreState::Lost { since: Nanos(0), .. });
        if shared.ready(self.now) && !first {
            let rule = "it answers: planned moves may begin".to_owned();
            self.decide("state store back".to_owned(), rule, Vec::new(), Outcome::Observed, out);
        }
        self.share(out);
    }

    pub(super) fn store_lost(&mut self, reason: String, out: &mut Vec<Output>) {
        let Some(shared) = &mut self.shared else { return };
        if shared.lost(self.now, reason.clone()) {
            let rule = "it does not answer: forwarding goes on, planned moves wait".to_owned();
            let inputs = vec![("store".to_owned(), reason)];
            self.decide("state store lost".to_owned(), rule, inputs, Outcome::Observed, out);
        }
    }

    pub(super) fn store_changed(
        &mut self,
        region: &str,
        whole: bool,
        changes: Vec<StateChange>,
        out: &mut Vec<Output>,
    ) {
        let Some(shared) = &mut self.shared else { return };
        shared.changed(region, whole, changes);
        self.share_intent(out);
    }

    /// Why planned moves must wait for the store, if they must.
    pub(super) fn store_fault(&self) -> Option<String> {
        self.shared.as_ref().and_then(|shared| shared.fault(self.now))
    }

    /// Writes what has changed of this engine. Cheap when nothing is due.
    pub(super) fn share(&mut self, out: &mut Vec<Output>) {
        let Some(shared) = &mut self.shared else { return };
        if self.now < shared.next || !matches!(shared.state, StoreState::Ready { .. }) {
            return;
        }
        shared.next = self.now.plus(LOOK);
        let vitals = self.now >= shared.next_vitals;
        if vitals {
            shared.next_vitals = self.now.plus(VITALS);
        }
        let Some(config) = self.config.cluster.clone() else { return };
        for (topic, record) in self.own_records(&config, vitals) {
            self.write(&config, topic, record, Expected::Any, out);
        }
        self.share_intent(out);
    }

    fn write(
        &mut self,
        config: &ClusterConfig,
        topic: Topic,
        record: Record,
        expected: Expected,
        out: &mut Vec<Output>,
    ) {
        let key = StateKey { region: config.region.clone(), topic };
        if self.shared.as_mut().is_some_and(|shared| shared.ask(&key, &record, expected)) {
            out.push(Output::StoreWrite { key, record, expected });
        }
    }

    fn own_records(&self, config: &ClusterConfig, vitals: bool) -> Vec<(Topic, Record)> {
        let engine = self.config.engine.clone();
        let (generation, digest) = (self.config.epoch_floor, config.digest.clone());
        let running = ConfigRecord { generation, digest, site: self.config.site.clone() };
        let mut records = vec![(Topic::Config { engine: engine.clone() }, Record::Config(running))];
        if vitals {
            records.push((Topic::Health { engine: engine.clone() }, Record::Health(self.own_health())));
            records.push((Topic::Risk { engine: engine.clone() }, Record::Risk(self.own_risk())));
        }
        let tunnel = |tunnel: &TunnelConfig| {
            let topic = Topic::Tunnel { engine: engine.clone(), tunnel: tunnel.name.clone() };
            (topic, Record::Tunnel(self.tunnel_record(tunnel)))
        };
        records.extend(self.config.tunnels.iter().filter(|t| self.is_there(t.id)).map(tunnel));
        records
    }

    fn own_health(&self) -> ApplianceHealth {
        let there = self.config.tunnels.iter().filter(|tunnel| self.is_there(tunnel.id));
        let up = there.clone().filter(|tunnel| self.tunnel_up(tunnel));
        ApplianceHealth {
            site: self.config.site.clone(),
            owner: self.ha.is_owner(),
            epoch: self.ha.epoch(),
            alarm: self.failure.raised_at().is_some(),
            tunnels_up: up.count() as u32,
            tunnels: there.count() as u32,
            peers: self.connected_peers(),
        }
    }

    fn own_risk(&self) -> RiskScore {
        let last = self.failure.last();
        let share = |value: f32| (0.0..=1.0).contains(&value);
        let interval = last.interval.filter(|(low, high)| share(*low) && share(*high) && low <= high);
        let drivers = last.drivers.iter().filter(|(_, weight)| weight.is_finite());
        RiskScore {
            probability: Some(last.probability).filter(|p| share(*p)),
            interval,
            horizon_ms: last.horizon_ms,
            drift: if share(last.drift) { last.drift } else { 1.0 },
            drivers: drivers.cloned().collect(),
        }
    }

    fn tunnel_record(&self, tunnel: &TunnelConfig) -> TunnelRecord {
        let (inbound_generation, outbound_generation) = self.sas.generations(tunnel.id);
        let session = match tunnel.protocol {
            Protocol::Esp { parameters, .. } => Some(SessionState {
                parameters,
                inbound_generation,
                inbound_spis: self.sas.inbound_spis(tunnel.id),
                outbound_generation,
            }),
            Protocol::Fixed { .. } | Protocol::WireGuard { .. } | Protocol::Direct => None,
        };
        TunnelRecord {
            peer: tunnel.peer.clone(),
            local: tunnel.endpoints.local,
            remote: tunnel.endpoints.remote,
            state: self.tunnel_state(tunnel),
            session,
        }
    }

    /// The owner writes how it wants its site's traffic split; never over what an owner of a later epoch wrote.
    fn share_intent(&mut self, out: &mut Vec<Output>) {
        let Some(shared) = &self.shared else { return };
        if !self.ha.is_owner() || !matches!(shared.state, StoreState::Ready { .. }) {
            return;
        }
        let Some(config) = self.config.cluster.clone() else { return };
        let topic = Topic::Intent { site: self.config.site.clone() };
        let key = StateKey { region: config.region.clone(), topic };
        let Message::SetShares { epoch, shares, .. } = self.shares_message() else { return };
        let moving = self.switchover.as_ref().filter(|switchover| switchover.is_moving());
        let shifting_to = moving.map(|switchover| switchover.target().to_owned());
        let intent = RoutingIntent { epoch, owner: self.config.engine.clone(), shares, shifting_to };
        let (written, expected) = match shared.known.get(&key) {
            Some(Known { revision, record: Record::Intent(there) }) => {
                (there.epoch > epoch || *there == intent, Expected::Revision(*revision))
            }
            Some(Known { revision, .. }) => (false, Expected::Revision(*revision)),
            None => (false, Expected::Absent),
        };
        if !written {
            self.write(&config, key.topic, Record::Intent(intent), expected, out);
        }
    }

    /// Whether the store answers; `None` without one.
    pub fn store_state(&self) -> Option<&StoreState> {
        self.shared.as_ref().map(|shared| &shared.state)
    }

    /// Everything known of the store, by key.
    pub fn shared_records(&self) -> impl Iterator<Item = (&StateKey, &Known)> {
        self.shared.iter().flat_map(|shared| &shared.known)
    }
}

#[cfg(test)]
mod tests;
