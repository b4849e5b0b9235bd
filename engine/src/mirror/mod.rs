//! Mirrored traffic between the two engines of a site: a TLS connection of its own, so that what is mirrored never waits in
//! front of a lease, and memory that is bounded at every step. What does not fit is counted and makes the share of the flows
//! smaller; nothing waits for it.
//!
//! workers → rings → [`mod@send`] → connection → [`mod@receive`] → queue → [`judge`]
#![forbid(unsafe_code)]

pub mod frame;
mod judge;
mod names;
mod receive;
mod send;
#[cfg(test)]
mod tests;

pub use judge::{Judge, sessions_part};
pub use names::Names;
pub use receive::{Received, receive};
pub use send::{Dial, Sent, send};
