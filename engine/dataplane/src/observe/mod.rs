//! Seeing packets: what a worker notes of them while somebody looks, and nothing otherwise.
//!
//! Control makes an [`Observer`] for each worker ([`session::observe`]) and takes it back when the client has gone, its
//! time is up or the engine stops; an observer whose lease has lapsed ends by itself. While there is one, the worker runs
//! the observed variant of its poll, which calls it at each [`Point`] of the walk. A packet is followed by a tag in its
//! metadata from [`Observer::received`] on.

mod eyes;
pub mod filter;
mod fuzz;
pub mod headers;
mod observer;
pub mod record;
pub mod session;
#[cfg(test)]
mod tests;

pub use eyes::Eyes;
pub use filter::{Filter, FilterError};
pub use fuzz::fuzz_filter;
pub use observer::{Observer, Tag};
pub use record::{Next, Origin, Outcome, Point, Record, Seen, Step};
