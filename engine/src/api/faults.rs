//! Faults on demand: what `foreshift fault` asks of an engine whose configuration allows it.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A fault inside the engine; its level is given with it and replaces the level before, 0 ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Packet buffers that each worker leaks; level: how many
    Mbufs,
    /// Memory that the control core holds and uses; level: MiB
    Heap,
    /// Time that a worker burns after a burst; level: nanoseconds for each of its packets
    Burn,
}
