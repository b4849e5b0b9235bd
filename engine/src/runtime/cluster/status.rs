//! What the store has, for those who ask.

use crate::api::status::{ClusterStatus, RecordStatus, StoreStatus};
use crate::runtime::engine::Engine;
use control::shared::{Known, StoreState};
use control::state::StateKey;

impl Engine {
    /// Whether the store answers; `None` without one.
    pub fn store_status(&self) -> Option<StoreStatus> {
        let plan = self.plan.cluster.as_ref()?;
        let (ready, since, reason) = match self.controller.store_state()? {
            StoreState::Ready { since } => (true, since, None),
            StoreState::Lost { since, reason } => (false, since, Some(reason.clone())),
        };
        let for_ms = self.now().since(*since).as_millis();
        Some(StoreStatus {
            kind: plan.store.name().into(),
            region: plan.region.to_string(),
            ready,
            for_ms,
            reason,
        })
    }

    /// Everything that engines share, as far as it is known here.
    pub fn cluster_status(&self) -> Option<ClusterStatus> {
        let record = |(key, known): (&StateKey, &Known)| RecordStatus {
            key: key.path(),
            revision: known.revision,
            record: serde_json::from_slice(&known.record.encode()).unwrap_or_default(),
        };
        let records = self.controller.shared_records().map(record).collect();
        Some(ClusterStatus { store: self.store_status()?, records })
    }
}
