//! What engines share, for a person.

use super::show::duration;
use super::table::Table;
use crate::api::status::{ClusterStatus, RecordStatus, StoreStatus};
use control::state::{Record, StateKey, Topic};
use std::collections::BTreeMap;

/// The store in a line.
pub fn store(s: &StoreStatus) -> String {
    let StoreStatus { kind, region, for_ms, .. } = s;
    let since = duration(*for_ms);
    match &s.reason {
        None => format!("{kind}, region {region}, ready for {since}"),
        Some(why) => format!("{kind}, region {region}, LOST for {since}: {why}; planned moves wait"),
    }
}

/// The store, the engines, their tunnels and the sites.
pub fn cluster(status: &Option<ClusterStatus>) -> String {
    let Some(s) = status else { return "nothing is shared: there is no [cluster]\n".to_owned() };
    let read: BTreeMap<StateKey, Record> = s.records.iter().filter_map(read).collect();
    let mut tunnels =
        Table::new(&["region", "engine", "tunnel", "peer", "state", "spi in", "generations in/out"]);
    let mut sites = Table::new(&["region", "site", "owner", "epoch", "shares", "shifting to"]);
    for (StateKey { region, topic }, record) in &read {
        match (topic, record) {
            (Topic::Tunnel { engine, tunnel }, Record::Tunnel(t)) => {
                let number = |g: Option<u64>| g.map_or("-".to_owned(), |g| g.to_string());
                let session = t.session.as_ref();
                let spis =
                    session.map(|s| s.inbound_spis.iter().map(|spi| spi.0.to_string()).collect::<Vec<_>>());
                let generations = session
                    .map(|s| format!("{}/{}", number(s.inbound_generation), number(s.outbound_generation)));
                tunnels.row([
                    region.clone(),
                    engine.clone(),
                    tunnel.clone(),
                    t.peer.clone(),
                    format!("{:?}", t.state).to_lowercase(),
                    spis.map_or("-".to_owned(), |spis| spis.join(" ")),
                    generations.unwrap_or("-".to_owned()),
                ]);
            }
            (Topic::Intent { site }, Record::Intent(intent)) => {
                let shares = intent.shares.iter().map(|s| format!("{} {}", s.engine, s.buckets));
                sites.row([
                    region.clone(),
                    site.clone(),
                    intent.owner.clone(),
                    intent.epoch.to_string(),
                    shares.collect::<Vec<_>>().join(", "),
                    intent.shifting_to.clone().unwrap_or("-".to_owned()),
                ]);
            }
            _ => {}
        }
    }
    let parts = [engines(&read), sites.render("no sites"), tunnels.render("no tunnels")];
    format!("state store  {}\n\n{}", store(&s.store), parts.join("\n"))
}

fn read(record: &RecordStatus) -> Option<(StateKey, Record)> {
    let key = StateKey::parse(&record.key)?;
    let octets = serde_json::to_vec(&record.record).ok()?;
    let record = Record::decode(&key.topic, &octets).ok()?;
    Some((key, record))
}

/// A line an engine; one without health is gone.
fn engines(read: &BTreeMap<StateKey, Record>) -> String {
    let mut table =
        Table::new(&["region", "engine", "site", "role", "epoch", "alarm", "risk", "tunnels up", "config"]);
    for (key, record) in read {
        let (Topic::Config { engine }, Record::Config(config)) = (&key.topic, record) else { continue };
        let at = |topic| read.get(&StateKey { region: key.region.clone(), topic });
        let health = match at(Topic::Health { engine: engine.clone() }) {
            Some(Record::Health(health)) => Some(health),
            _ => None,
        };
        let risk = match at(Topic::Risk { engine: engine.clone() }) {
            Some(Record::Risk(risk)) => risk.probability.map(|p| match risk.interval {
                Some((low, high)) => format!("{p:.3} ({low:.3}–{high:.3})"),
                None => format!("{p:.3}"),
            }),
            _ => None,
        };
        let dash = || "-".to_owned();
        let role = health.map_or("gone", |health| if health.owner { "owner" } else { "standby" });
        table.row([
            key.region.clone(),
            engine.clone(),
            config.site.clone(),
            role.to_owned(),
            health.map_or_else(dash, |health| health.epoch.to_string()),
            health.map_or_else(dash, |health| if health.alarm { "RAISED" } else { "none" }.to_owned()),
            risk.unwrap_or_else(dash),
            health.map_or_else(dash, |health| format!("{} of {}", health.tunnels_up, health.tunnels)),
            config.digest.chars().take(12).collect(),
        ]);
    }
    table.render("no engines")
}
