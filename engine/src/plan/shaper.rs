//! How fast packets go into a tunnel.

use crate::config::model;
use dataplane::id::Nanos;
use dataplane::shaper::{Bucket, Class, Rate, Shaper};
use std::sync::Arc;

/// A tunnel's shaper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShaperPlan {
    /// The tunnel's rate.
    pub rate: Rate,
    /// By priority, the best first.
    pub classes: Vec<ClassPlan>,
}

/// A class of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassPlan {
    /// Its name.
    pub name: String,
    /// Which packets.
    pub dscp: Vec<u8>,
    /// Its own rate, if it has one.
    pub rate: Option<Rate>,
    /// Packets that may wait on each worker.
    pub queue: usize,
}

impl ShaperPlan {
    /// The plan of a valid section.
    pub fn from_config(shaper: &model::Shaper) -> ShaperPlan {
        let burst = shaper.burst_kib.get() * 1024;
        let rate = |kbps: model::Kbps| Rate { bits_per_second: kbps.get() * 1000, burst };
        let class = |class: &model::ShaperClass| ClassPlan {
            name: class.name.to_string(),
            dscp: class.dscp.iter().map(|dscp| dscp.get() as u8).collect(),
            rate: class.rate_kbps.map(rate),
            queue: class.queue.get() as usize,
        };
        ShaperPlan { rate: rate(shaper.rate_kbps), classes: shaper.classes.iter().map(class).collect() }
    }

    /// The shaper, its buckets full at `now`.
    pub fn build(&self, now: Nanos) -> Arc<Shaper> {
        let bucket = |rate| Arc::new(Bucket::new(rate, now));
        let class = |class: &ClassPlan| {
            (Class { queue: class.queue, bucket: class.rate.map(bucket) }, class.dscp.clone())
        };
        Arc::new(Shaper::new(bucket(self.rate), self.classes.iter().map(class)))
    }
}
