//! What a worker writes down of one packet.

use super::headers::Header;
use crate::context::Meta;
use crate::drop_reason::DropReason;
use crate::id::{Bucket, InterfaceId, Nanos, PortId, TunnelId, WorkerId};
use crate::snapshot::NextHop;
use crate::wire::MacAddr;
use arrayvec::ArrayVec;
use std::net::IpAddr;

/// Most steps kept of one packet: one a stage, and room for one that is looked up twice.
pub const STEPS: usize = 12;

/// Where in the walk something was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// It came in: by a port, from another worker, or made here.
    Received,
    /// Link and IP header checked.
    Parse,
    /// Out of its tunnel, if it was in one.
    Decap,
    /// Reverse path.
    Classify,
    /// Sessions, access list, NAT.
    Access,
    /// The route.
    Lookup,
    /// The tunnel or neighbour.
    Steer,
    /// Lease, TTL, MTU.
    Forward,
    /// Into its tunnel, if it takes one.
    Encap,
    /// Link header on, given to the port.
    Transmit,
}

impl Point {
    /// The name in a trace.
    pub const fn name(self) -> &'static str {
        match self {
            Point::Received => "received",
            Point::Parse => "parse",
            Point::Decap => "decap",
            Point::Classify => "classify",
            Point::Access => "access",
            Point::Lookup => "lookup",
            Point::Steer => "steer",
            Point::Forward => "forward",
            Point::Encap => "encap",
            Point::Transmit => "transmit",
        }
    }
}

/// How a packet came to this worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// By a port.
    Port(PortId),
    /// From the worker that received it.
    Handoff,
    /// It waited here for its neighbour's address.
    Held,
    /// Made here: an ICMP error, a probe, a fragment.
    #[default]
    Own,
}

/// How a packet's way ended on this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Given to a port.
    Sent(PortId),
    /// Its one reason, and the stage that gave it.
    Dropped {
        /// Where.
        at: Point,
        /// Why.
        reason: DropReason,
    },
    /// It waits for its neighbour's address.
    Held,
    /// The worker that owns its SA goes on with it.
    HandedTo(WorkerId),
}

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The route that was found.
    Route(NextHop),
    /// Into a tunnel.
    Tunnel(TunnelId),
    /// To a neighbour.
    Neighbor { interface: InterfaceId, ip: IpAddr },
    /// Back to whoever sent it on the link.
    Link { interface: InterfaceId, mac: MacAddr },
}

/// A packet as a stage leaves it.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// From its first header on.
    pub data: &'a [u8],
    /// What the walk knows of it.
    pub meta: &'a Meta,
    /// Where it goes, in terms that outlive the snapshot.
    pub next: Option<Next>,
}

/// What one stage left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which stage.
    pub point: Point,
    /// The packet's first IP header after it.
    pub header: Option<Header>,
    /// Bytes of the packet after it.
    pub length: usize,
    /// Where it came in.
    pub interface: InterfaceId,
    /// The tunnel it came out of.
    pub tunnel_in: Option<TunnelId>,
    /// Where it goes, as far as is known.
    pub next: Option<Next>,
    /// The bucket that chose the tunnel.
    pub bucket: Option<Bucket>,
}

/// Which way a captured packet was going.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Coming in.
    #[default]
    Rx,
    /// Going out.
    Tx,
}

/// Where a captured packet was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// At a port: the bytes are an Ethernet frame.
    Port(PortId),
    /// At one side of a tunnel: the bytes are an IP packet.
    Tunnel(TunnelId),
    /// In the walk, without ever having been received: the bytes are an IP packet.
    #[default]
    Own,
}

/// One packet as observed. Made by control, filled by a worker, read and given back by whoever shows it.
#[derive(Debug)]
pub struct Record {
    /// When the packet's burst was received, on the engine's clock.
    pub at: Nanos,
    /// How it came here.
    pub origin: Origin,
    /// Where it was captured.
    pub place: Place,
    /// Which way it went there.
    pub direction: Direction,
    /// Stage by stage.
    pub steps: ArrayVec<Step, STEPS>,
    /// How it ended; of a capture at a port or tunnel, `None`.
    pub outcome: Option<Outcome>,
    /// Bytes the packet had when it was copied.
    pub length: usize,
    /// How many of them were copied.
    captured: usize,
    buffer: Box<[u8]>,
}

impl Record {
    /// An empty record with room for `snaplen` bytes of a packet.
    pub fn new(snaplen: usize) -> Record {
        Record {
            at: Nanos(0),
            origin: Origin::Own,
            place: Place::Own,
            direction: Direction::Rx,
            steps: ArrayVec::new(),
            outcome: None,
            length: 0,
            captured: 0,
            buffer: vec![0; snaplen].into(),
        }
    }

    /// Begins anew with a packet.
    pub(super) fn begin(&mut self, at: Nanos, place: Place, direction: Direction, data: &[u8]) {
        (self.at, self.place, self.direction) = (at, place, direction);
        self.steps.clear();
        self.outcome = None;
        self.length = data.len();
        self.captured = data.len().min(self.buffer.len());
        self.buffer[..self.captured].copy_from_slice(&data[..self.captured]);
    }

    /// The copied bytes.
    pub fn data(&self) -> &[u8] {
        &self.buffer[..self.captured]
    }
}
