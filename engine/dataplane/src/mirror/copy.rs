//! What a worker notes of a sampled packet.

use crate::drop_reason::DropReason;
use crate::id::{GroupId, InterfaceId, Nanos, TunnelId};
use crate::observe::Next;
use crate::snapshot::NextHop;
use std::net::IpAddr;

/// Most bytes copied of a packet. Its verdict follows from its headers and its length; the rest is its hosts' business, and
/// would be most of what a copy weighs.
pub const SNAP: usize = 192;

/// Where a sampled packet came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// In the clear.
    Interface(InterfaceId),
    /// Out of this tunnel.
    Tunnel(TunnelId),
}

/// Which samples a packet is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    /// Its flow is sampled.
    pub flow: bool,
    /// It is sampled for itself.
    pub packet: bool,
}

/// Where a forwarded packet leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// To the site of this tunnel group, by whichever tunnel.
    Group(GroupId),
    /// To this neighbour.
    Neighbor {
        /// Its link.
        interface: InterfaceId,
        /// Its address.
        ip: IpAddr,
    },
    /// Nowhere that a route says: an answer.
    Answer,
}

impl Lead {
    /// What a stage knows now, where `known` was known before: the group says more than the tunnel, and the tunnel's
    /// neighbour is nobody's business.
    pub(super) fn learn(known: Option<Lead>, next: Option<Next>) -> Option<Lead> {
        match (known, next) {
            (Some(Lead::Group(_)), _) | (_, None | Some(Next::Tunnel(_))) => known,
            (_, Some(Next::Route(NextHop::Group(group)))) => Some(Lead::Group(group)),
            (_, Some(Next::Route(_))) => known,
            (_, Some(Next::Neighbor { interface, ip })) => Some(Lead::Neighbor { interface, ip }),
            (_, Some(Next::Link { .. })) => Some(Lead::Answer),
        }
    }
}

/// What a worker did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It went there, or waits for its turn to.
    Forwarded(Lead),
    /// It ended.
    Dropped(DropReason),
}

impl Fate {
    /// Whether another engine with the same tables would do the same: not so where load, the lease or what a worker waits for
    /// decided.
    pub const fn is_comparable(self) -> bool {
        use DropReason as R;
        !matches!(
            self,
            Fate::Dropped(
                R::NeighborUnresolved
                    | R::NoSa
                    | R::SaExhausted
                    | R::Shaped
                    | R::SessionTableFull
                    | R::NatExhausted
                    | R::LeaseExpired
                    | R::PoolExhausted
                    | R::TxFull
                    | R::HoldFull
                    | R::Unreserved
                    | R::HandoffFull
            )
        )
    }
}

/// One sampled packet. Made by control, filled by a worker, read and given back.
#[derive(Debug)]
pub struct Copied {
    /// When its burst was received, on the engine's clock.
    pub at: Nanos,
    /// Counts this worker's, without a gap but for those lost.
    pub sequence: u32,
    /// Where it came in.
    pub ingress: Ingress,
    /// What it is in.
    pub samples: Samples,
    /// The probability of each sample.
    pub threshold: super::Threshold,
    /// The worker knew a session of its flow when it came.
    pub in_session: bool,
    /// Bytes of the IP packet.
    pub length: u16,
    /// What it carries.
    pub protocol: u8,
    /// What became of it.
    pub fate: Fate,
    /// From RX to TX, of one that was sent.
    pub residence: Option<Nanos>,
    pub(super) captured: u8,
    pub(super) bytes: [u8; SNAP],
}

const _: () = assert!(SNAP <= u8::MAX as usize);

impl Copied {
    /// Room for one.
    pub(super) fn empty() -> Copied {
        Copied {
            at: Nanos(0),
            sequence: 0,
            ingress: Ingress::Interface(InterfaceId(0)),
            samples: Samples::default(),
            threshold: super::Threshold(0),
            in_session: false,
            length: 0,
            protocol: 0,
            fate: Fate::Forwarded(Lead::Answer),
            residence: None,
            captured: 0,
            bytes: [0; SNAP],
        }
    }

    /// The copied bytes, from the IP header on; none of a packet that is only sampled for itself.
    pub fn head(&self) -> &[u8] {
        &self.bytes[..usize::from(self.captured)]
    }
}
