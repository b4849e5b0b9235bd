//! The neighbours of a link and their MAC addresses: ARP (RFC 826) and neighbour discovery (RFC 4861)
//! alike.
//!
//! Control runs the [`NeighborTable`] and publishes the [`Neighbors`] it knows, which a snapshot stacks into an
//! [`AdjacencyTable`]; a worker keeps packets whose neighbour is not known yet in a [`HoldQueue`].

mod adjacency;
mod hold;
mod table;

#[cfg(test)]
mod tests;

pub use adjacency::{Adjacency, AdjacencyTable, Neighbors};
pub use hold::{HELD_MAX, HELD_MAX_EACH, HoldQueue};
pub use table::{Claim, NeighborConfig, NeighborTable, Solicit};
