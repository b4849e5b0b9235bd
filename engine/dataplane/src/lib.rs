//! What happens to a packet, from RX to TX. No DPDK, no clock, no `unsafe`: packets, ports and
//! time come in through the traits of [`packet`]. Begin with [`worker::Worker::poll`].
#![forbid(unsafe_code)]

pub mod acl;
pub mod batch;
pub mod bfd;
pub mod context;
pub mod drop_reason;
pub mod ecmp;
pub mod fib;
pub mod flow;
pub mod frame;
pub mod id;
pub mod lease;
pub mod limiter;
pub mod links;
pub mod message;
pub mod mirror;
pub mod nat;
pub mod neighbor;
pub mod observe;
pub mod packet;
pub mod reassembly;
pub mod replay;
pub mod sa;
pub mod shadow;
pub mod shaper;
pub mod snapshot;
pub mod stage;
pub mod telemetry;
pub mod tunnel;
pub mod virtual_router;
pub mod wire;
pub mod worker;
