//! A table of routes that no longer change.

use super::{Capacity, Fib, FibError, FibWriter};
use crate::id::NextHopId;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The routes of a [`Fib`] that nobody changes: one next hop a prefix.
#[derive(Clone, Debug, Default)]
pub struct FibBuilder(BTreeMap<IpNet, NextHopId>);

impl FibBuilder {
    /// No route.
    pub fn new() -> FibBuilder {
        FibBuilder::default()
    }

    /// Routes `prefix` (host bits are ignored) to `next_hop`; returns what it replaced.
    pub fn insert(&mut self, prefix: IpNet, next_hop: NextHopId) -> Option<NextHopId> {
        self.0.insert(prefix.trunc(), next_hop)
    }

    /// The lookup structure of these routes.
    pub fn build(&self) -> Result<Arc<Fib>, FibError> {
        let mut writer = FibWriter::new(Capacity::for_routes(self.0.len()));
        for (&prefix, &next_hop) in &self.0 {
            writer.insert(prefix, next_hop)?;
            // Nobody reads yet.
            let epoch = writer.advance();
            writer.reclaim(epoch);
        }
        Ok(writer.fib().clone())
    }
}

impl Extend<(IpNet, NextHopId)> for FibBuilder {
    fn extend<T: IntoIterator<Item = (IpNet, NextHopId)>>(&mut self, routes: T) {
        for (prefix, next_hop) in routes {
            self.insert(prefix, next_hop);
        }
    }
}
