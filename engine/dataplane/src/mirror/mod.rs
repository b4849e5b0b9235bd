//! Copies of a part of the traffic, for a shadow that tells what it would have done with it.
//!
//! A worker with a [`Mirror`] notes two samples at one point of the walk, behind decapsulation and reassembly, where a packet
//! is in the clear and nothing has judged it yet: whole flows ([`FlowSampler`]), whose packets' heads are copied for the
//! shadow, and single packets ([`PacketSampler`]), of which only figures are kept. What the worker then does with each
//! goes with its copy. What ends before that point (malformed frames, wrong ICVs) is not mirrored: it has no flow.
//! What is for this engine itself is not either: the shadow has other addresses.
//!
//! Without a mirror the worker runs the walk that knows of none ([`crate::observe`]).
//!
//! A [`Shadow`] is a worker without ports, whose packets come from copies and end in nothing.

mod copy;
mod dry;
mod sample;
mod session;
mod shadow;
mod sip;
mod tap;
pub mod wire;

pub use copy::{Copied, Fate, Ingress, Lead, SNAP, Samples};
pub use dry::{DryPacket, DryPool, DryPort};
pub use sample::{FlowSampler, PacketSampler, Rate, Threshold, flow_of};
pub use session::{Order, Source, Tally, mirror};
pub use shadow::{Shadow, ShadowParts, Walked};
pub use sip::SipKey;
pub use tap::Mirror;
