//! The neighbours of a link and their MAC addresses: ARP (RFC 826) and neighbour discovery (RFC 4861)
//! alike.
//!
//! Control runs the [`NeighborTable`] and publishes an [`AdjacencyTable`]; a worker keeps packets whose
//! neighbour is not in it yet in a [`HoldQueue`].

mod adjacency;
mod hold;
mod table;

#[cfg(test)]
mod tests;

pub use adjacency::AdjacencyTable;
pub use hold::{HELD_MAX, HELD_MAX_EACH, HoldQueue};
pub use table::{Claim, NeighborConfig, NeighborTable, Solicit};
