//! Whole clusters in one thread, on a virtual clock, from one seed: the real controllers, real workers with real
//! ESP over simulated ports, a simulated network between them, faults, and [`checkers`] that watch the rules of the
//! design at every moment.
//!
//! [`hosts`] send numbered packets through it all. Beside them [`traffic`] asks at every moment which share of a
//! steady stream would arrive, given what the workers were told.
#![forbid(unsafe_code)]

pub mod channels;
pub mod checkers;
pub mod cluster;
pub mod faults;
pub mod hosts;
pub mod network;
pub mod node;
pub mod partner;
pub mod plane;
pub mod rng;
pub mod sabotage;
pub mod scenario;
pub mod store;
pub mod topology;
pub mod traffic;

pub use cluster::Cluster;
pub use faults::Fault;
pub use topology::Options;
