//! From what runs to what shall run: only what differs is touched, so that what a person or the tunnel manager has set for a
//! while stays as it is.

use crate::plan::{Plan, TunnelPlan};
use crate::routes::{self, Batch, Targets};
use crate::runtime::engine::Engine;
use crate::site::Prepared;
use control::config::RateRange;
use control::io::{Input, Policy};
use control::replication::Version;
use dataplane::id::TunnelId;
use dataplane::shaper::{Bucket, Rate};
use std::sync::Arc;

impl Engine {
    /// Runs a version that fits this engine and is kept.
    pub(super) fn apply_site(&mut self, version: &Version) {
        let Some(site) = &mut self.site else { return };
        let revision = &version.head.revision;
        let checked = site.prepared.take().filter(|(id, _)| *id == revision.id).map(|(_, prepared)| prepared);
        let out_of: Vec<_> = self.plan.forwarding.tunnels.iter().map(|tunnel| tunnel.interface).collect();
        let again = || Prepared::new(&site.site.own, &version.text, &out_of).map(Box::new);
        let prepared = match checked.map_or_else(again, Ok) {
            Ok(prepared) => *prepared,
            Err(reasons) => {
                tracing::error!(
                    generation = revision.generation,
                    ?reasons,
                    "the configuration does not fit any more"
                );
                return;
            }
        };
        let acl = (site.config.acl != prepared.config.acl).then_some(prepared.acl);
        site.targets.send_replace(Arc::new(Targets::new(&prepared.plan.forwarding)));
        site.config = prepared.config;
        let before = std::mem::replace(&mut self.plan, prepared.plan);
        if let Some(acl) = acl {
            self.forwarding.set_acl(acl);
        }
        self.apply_routes(&before);
        self.apply_groups(&before);
        self.apply_rates(&before);
        self.apply_policy(&before);
        self.publish();
        tracing::info!(
            generation = revision.generation,
            author = revision.author,
            engine = revision.engine,
            note = revision.note,
            "the site's configuration is in force"
        );
    }

    fn apply_routes(&mut self, before: &Plan) {
        let (old, new) = (routes::own(&before.forwarding), routes::own(&self.plan.forwarding));
        let mut batch = Batch::default();
        for (prefix, next_hop) in &new {
            if old.get(prefix) != Some(next_hop) {
                batch.changes.push((*prefix, Some(batch.next_hops.len() as u32)));
                batch.next_hops.push(*next_hop);
            }
        }
        batch
            .changes
            .extend(old.keys().filter(|prefix| !new.contains_key(prefix)).map(|prefix| (*prefix, None)));
        if !batch.changes.is_empty() {
            self.forwarding.routes.enqueue(batch);
        }
        // The ways to the far ends of tunnels follow from the routes.
        for (old, new) in before.forwarding.tunnels.iter().zip(&self.plan.forwarding.tunnels) {
            if old.next_hop != new.next_hop {
                self.forwarding.set_way(new);
            }
        }
    }

    fn apply_groups(&mut self, before: &Plan) {
        for (old, new) in before.forwarding.groups.iter().zip(&self.plan.forwarding.groups) {
            if old.mss_clamp != new.mss_clamp {
                self.forwarding.set_mss_clamp(new.id, new.mss_clamp);
            }
        }
    }

    fn apply_rates(&mut self, before: &Plan) {
        let now = self.clock.now();
        let set = |bucket: &Bucket, rate: Rate| {
            bucket.set_rate(Rate { bits_per_second: rate.bits_per_second, ..bucket.rate() }, now);
        };
        for ((old, new), live) in before.tunnels.iter().zip(&self.plan.tunnels).zip(self.shapers.iter()) {
            let (Some(old), Some(new), Some(live)) = (&old.shaper, &new.shaper, live) else { continue };
            if old.rate != new.rate {
                set(&live.bucket, new.rate);
            }
            for ((old, new), live) in old.classes.iter().zip(&new.classes).zip(live.classes.iter()) {
                if let (Some(rate), Some(bucket)) = (new.rate.filter(|_| old.rate != new.rate), &live.bucket)
                {
                    set(bucket, rate);
                }
            }
        }
    }

    fn apply_policy(&mut self, before: &Plan) {
        let (old, new) = (&before.controller, &self.plan.controller);
        let changed = |tunnel: &TunnelPlan| -> Option<(TunnelId, RateRange)> {
            let rate = tunnel.shaper.as_ref()?.rate.bits_per_second;
            let range = |config: &control::config::ControllerConfig| {
                let adaptive = config.groups.iter().filter_map(|group| group.adaptive.as_ref());
                let mut known = adaptive.flat_map(|adaptive| &adaptive.tunnels);
                known.find(|known| known.tunnel == tunnel.id).and_then(|known| known.rate)
            };
            let range = range(new).filter(|now| range(old) != Some(*now) && now.configured == rate)?;
            Some((tunnel.id, range))
        };
        let policy = Policy {
            mode: Some(new.prediction.mode).filter(|mode| *mode != old.prediction.mode),
            threshold: new.prediction.threshold,
            moves_max: new.prediction.moves_max,
            moves_window: new.prediction.moves_window,
            sla_weights: new.prediction.sla_weights.clone(),
            rates: self.plan.tunnels.iter().filter_map(changed).collect(),
        };
        self.input(Input::Policy(policy));
    }
}
