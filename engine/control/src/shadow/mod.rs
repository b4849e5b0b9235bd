//! What the standby holds: one engine's sessions at another, kept up to date by changes alone.
//!
//! - [`codec`]: the octets of the channel, which is a TLS connection of its own between two engines.
//! - [`sender`]: the end at the engine whose sessions they are. It numbers batches, bounds what waits for an
//!   acknowledgement, and says when a *round* is due: everything once more, after which what it did not name is forgotten.
//! - [`receiver`]: the end at the shadow. It turns entries into [tasks](dataplane::shadow::Task) for the workers.
//! - [`exchange`]: all ends of an engine together, between the channels and the workers' rings.
//! - [`sas`]: SAs that may be taken over, and where their counters go on.
//! - [`takeover`]: such an SA at one of the engines that may have it.
//!
//! All of it is sans-IO, as the [controller](crate::Controller) is: the shell carries octets and reads the clock.
//!
//! What is not shadowed: the tunnel that a bucket of a group is in. It is one of the engine's own tunnels, and its standby
//! has others.

pub mod codec;
pub mod exchange;
pub mod receiver;
pub mod sas;
pub mod sender;
pub mod takeover;

#[cfg(test)]
mod tests;

/// The version of the channel: the last part of its ALPN name, so that engines which differ do not connect at all.
pub const ALPN: &[u8] = b"foreshift-shadow/2";
