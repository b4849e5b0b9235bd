//! GRE (RFC 2784) without options.

use super::{Scenario, Way, between_hosts};
use dataplane::snapshot::Encapsulation;

/// `count` tunnels of equal weight.
pub fn tunnels(count: usize, way: Way) -> Scenario {
    let tunnels = vec![Encapsulation::Gre { key: None, sequence: false }; count];
    Scenario { tunnels, ..Scenario::new(way, between_hosts(way, false)) }
}
