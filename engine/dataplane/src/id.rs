//! Names of things, each its own type.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl $name {
            /// As an index into the table of such things.
            #[inline]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id!(/// A DPDK port, numbered as in the configuration.
    PortId(u16));
id!(/// A layer-3 interface: a port, or one VLAN of it.
    InterfaceId(u16));
id!(/// A worker, numbered from 0.
    WorkerId(u16));
id!(/// A tunnel of this engine.
    TunnelId(u16));
id!(/// A tunnel group of this engine.
    GroupId(u16));
id!(/// An entry of the next-hop table; what the FIB maps to.
    NextHopId(u32));
id!(/// An entry of the adjacency table: a neighbour and the link header that reaches it.
    AdjacencyId(u32));
id!(/// A steering bucket, 0–65,535.
    Bucket(u16));
id!(/// An ESP security parameters index (RFC 4303 §2.1).
    Spi(u32));
id!(/// Leadership: increases with every change of owner.
    Epoch(u64));
id!(/// Configuration: increases with every published snapshot.
    Generation(u64));

impl NextHopId {
    /// What the FIB answers where no route leads: the first entry of every next-hop table.
    pub const NONE: NextHopId = NextHopId(0);
}

/// Nanoseconds on one engine's monotonic clock. Never compared between engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The end of time: a deadline that never passes.
    pub const MAX: Nanos = Nanos(u64::MAX);

    /// From milliseconds.
    pub const fn from_millis(ms: u64) -> Nanos {
        Nanos(ms * 1_000_000)
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Time since `earlier`, zero if that is later.
    pub const fn since(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }

    /// This much later; saturates at [`Nanos::MAX`].
    pub const fn plus(self, ns: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(ns.0))
    }
}
