//! What a stage sees beside its packet: the snapshot, and everything one worker owns.

use crate::batch::Slot;
use crate::bfd;
use crate::drop_reason::DropReason;
use crate::ecmp::Steering;
use crate::ecmp::mark::Marks;
use crate::fib::recent::Recent;
use crate::id::{AdjacencyId, GroupId, InterfaceId, Nanos, NextHopId, Spi, TunnelId, WorkerId};
use crate::lease::Lease;
use crate::limiter::TokenBucket;
use crate::links::EVENTS;
use crate::message::{Event, Inbound};
use crate::nat::Endpoint;
use crate::observe::Tag;
use crate::packet::{BURST, Packet, PacketPool};
use crate::sa::OutboundSa;
use crate::snapshot::Snapshot;
use crate::stage::access::Sessions;
use crate::telemetry::Counters;
use crate::wire::{EtherType, MacAddr, Protocol};
use crate::wireguard::{Keypairs, Punted};
use arrayvec::ArrayVec;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// Packets the engine may make while it handles one burst; more are dropped as
/// [`DropReason::PoolExhausted`].
pub const ORIGINATED: usize = 4 * BURST;

/// The IP version of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// RFC 791.
    #[default]
    V4,
    /// RFC 8200.
    V6,
}

/// Where a packet goes, as far as the walk has found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Egress {
    /// Not looked up yet.
    #[default]
    Unknown,
    /// Into a tunnel of this group, once its bucket has moved ([`crate::ecmp::mark`]).
    Moving(GroupId),
    /// Into a tunnel.
    Tunnel(TunnelId),
    /// To this neighbour.
    Adjacency(AdjacencyId),
    /// To a neighbour that has no adjacency, or had none when the packet was held.
    Neighbor { interface: InterfaceId, ip: IpAddr },
    /// To this MAC address, from another: an answer on the link.
    Link { interface: InterfaceId, src: MacAddr, mac: MacAddr, ether_type: EtherType },
}

/// What the walk knows of a packet. The packet itself begins with its IP header (or ARP body) from
/// parse to rewrite.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Where it came in.
    pub interface: InterfaceId,
    /// Who sent the frame, of one that is not plain IPv4.
    pub link_src: MacAddr,
    /// The frame was for a group, not for this engine's MAC alone.
    pub link_group: bool,
    /// IP version of the outermost header now.
    pub version: Version,
    /// What follows the IP header and IPv6 extension headers.
    pub protocol: Protocol,
    /// Where that begins, bytes.
    pub upper: u16,
    /// A fragment, first or later.
    pub fragment: bool,
    /// `upper` is where the upper-layer header begins: not a later fragment.
    pub has_upper: bool,
    /// Its source or destination is a link-local address.
    pub link_local: bool,
    /// Source and destination of an IPv4 packet, as numbers.
    pub src_v4: u32,
    /// See `src_v4`.
    pub dst_v4: u32,
    /// The tunnel it came out of.
    pub tunnel_in: Option<TunnelId>,
    /// The route to its destination.
    pub route: NextHopId,
    /// The route to its source.
    pub reverse: NextHopId,
    /// Where it goes.
    pub egress: Egress,
    /// It waits for its SA ([`Wait`]).
    pub waits: bool,
    /// Made or turned round here: no TTL is taken.
    pub own: bool,
    /// The source it gets when it leaves (NAT).
    pub source: Option<Endpoint>,
    /// Its name while somebody follows it.
    pub trace: Tag,
    /// Its name while it is mirrored.
    pub mirrored: Tag,
}

impl Default for Meta {
    #[inline]
    fn default() -> Meta {
        Meta::NEW
    }
}

impl Meta {
    /// Nothing known yet. A constant: written to a whole burst, it is to be plain stores.
    pub const NEW: Meta = Meta {
        interface: InterfaceId(0),
        link_src: MacAddr::ZERO,
        link_group: false,
        version: Version::V4,
        protocol: Protocol(0),
        upper: 0,
        fragment: false,
        has_upper: false,
        link_local: false,
        src_v4: 0,
        dst_v4: 0,
        tunnel_in: None,
        route: NextHopId::NONE,
        reverse: NextHopId::NONE,
        egress: Egress::Unknown,
        waits: false,
        own: false,
        source: None,
        trace: Tag::NONE,
        mirrored: Tag::NONE,
    };

    /// With the addresses of the IPv4 `packet` that this engine has written.
    pub fn addressed(self, packet: &[u8]) -> Meta {
        let number = |at: usize| packet.get(at..)?.first_chunk().copied().map(u32::from_be_bytes);
        match (self.version, number(12), number(16)) {
            // RFC 791 §3.1
            (Version::V4, Some(src_v4), Some(dst_v4)) => Meta { src_v4, dst_v4, ..self },
            _ => self,
        }
    }

    /// Forwarded for others, whole or in fragments made here: the lease is needed.
    #[inline]
    pub const fn forwarded(&self) -> bool {
        !self.own || self.fragment
    }
}

/// The SAs of one worker.
pub struct SaTable {
    /// By SPI.
    pub inbound: FxHashMap<Spi, Box<Inbound>>,
    /// By [`TunnelId`].
    pub outbound: Box<[Option<Box<OutboundSa>>]>,
    /// Those that another engine may have as well: here or not.
    pub shared: ArrayVec<SharedSa, MAX_SHARED>,
    /// What the packets of a burst wait for, in their order.
    pub waits: ArrayVec<Wait, BURST>,
    /// WireGuard's, by [`TunnelId`].
    pub keypairs: Box<[Keypairs]>,
}

impl SaTable {
    /// A packet finds no SA to leave under. If another engine may have it now, the packet waits until it is here.
    ///
    /// # Errors
    /// If it is nobody else's.
    #[cold]
    pub fn without(&self, tunnel: TunnelId, meta: &mut Meta) -> Result<(), DropReason> {
        if self.shared.iter().all(|shared| shared.tunnel != tunnel) {
            return Err(DropReason::NoSa);
        }
        meta.egress = Egress::Tunnel(tunnel);
        Ok(())
    }
}

/// An SA pair that another engine may have. What inbound has come to is reported, and packets wait for what is not here.
#[derive(Clone, Copy, Debug)]
pub struct SharedSa {
    /// Of the inbound one.
    pub spi: Spi,
    /// Of both.
    pub tunnel: TunnelId,
    /// The highest sequence number that was reported, and when.
    pub reported: (u64, Nanos),
}

/// What a packet of a [`SharedSa`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The inbound SA: it is as it came.
    ToOpen(Spi),
    /// The inbound SA to accept this number: it has been opened.
    ToAccept(Spi, u64),
    /// The outbound SA: it is at the tunnel's entrance.
    ToSeal(TunnelId),
}

/// Most of those on one worker.
pub const MAX_SHARED: usize = 64;

/// Most inbound SAs on one worker; room for them is taken at start.
pub const MAX_INBOUND: usize = 4096;

/// Sequence state of one tunnel on one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelSequence {
    /// Last GRE sequence number sent (RFC 2890 §2.2).
    pub gre_tx: u32,
    /// Last one received.
    pub gre_rx: Option<u32>,
    /// Probes reflected.
    pub reflected: u32,
}

/// One worker's world.
pub struct Context<A: PacketPool> {
    /// Which worker.
    pub id: WorkerId,
    /// How many workers there are; SPI mod this names the owner of an SA.
    pub workers: u16,
    /// When this burst was received.
    pub now: Nanos,
    /// Read-only state.
    pub snapshot: Box<Snapshot>,
    /// SAs.
    pub sas: SaTable,
    /// By [`TunnelId`].
    pub sequences: Box<[TunnelSequence]>,
    /// By [`crate::id::GroupId`].
    pub steering: Box<[Steering]>,
    /// What waits for a MARK.
    pub marks: Marks<Slot<A::Packet>>,
    /// Counters that the outside reads.
    pub counters: Arc<Counters>,
    /// To control.
    pub events: sync::ring::Producer<Event>,
    /// To control: WireGuard handshakes.
    pub handshakes: sync::ring::Producer<Punted>,
    /// Where own packets come from.
    pub pool: A,
    /// Own packets made during this burst.
    pub originated: ArrayVec<Slot<A::Packet>, ORIGINATED>,
    /// ICMP errors allowed (RFC 1812 §4.3.2.8, RFC 4443 §2.4 f).
    pub icmp_errors: TokenBucket,
    /// The right to forward.
    pub lease: Lease,
    /// Sessions, where they are kept.
    pub sessions: Option<Box<Sessions>>,
    /// BFD sessions, on the worker that runs them.
    pub bfd: Box<[bfd::Session]>,
    /// Routes back to sources that packets came from lately.
    pub reverse: Recent,
}

impl<A: PacketPool> Context<A> {
    /// Whether the lease holds at the time of this burst.
    #[inline(always)]
    pub fn may_forward(&self) -> bool {
        self.lease.holds()
    }

    /// Reports to control; a full ring is counted by the ring.
    #[inline]
    pub fn report(&mut self, event: Event) {
        let _ = self.events.push(event);
    }

    /// Reports what anybody on a link can cause. It leaves half of the ring to what control must not miss.
    #[inline]
    pub fn report_neighbor(&mut self, event: Event) {
        if self.events.free() > EVENTS / 2 {
            self.report(event);
        }
    }

    /// Whether a stage lets a packet pass; if not, its end is counted.
    #[inline]
    pub fn passes(&self, verdict: Result<(), DropReason>) -> bool {
        verdict.map_err(|reason| self.count_drop(reason)).is_ok()
    }

    /// Counts the end of a packet.
    #[inline]
    pub fn count_drop(&self, reason: DropReason) {
        self.counters.dropped(reason).add(1);
    }

    /// Queues an own packet of `length` bytes, filled by `fill`, for the rest of the walk from lookup on. Counted as
    /// originated either way, and as dropped where it could not be made, which returns false.
    pub fn originate(&mut self, meta: Meta, length: usize, fill: impl FnOnce(&mut [u8]) -> bool) -> bool {
        self.counters.originated.add(1);
        let packet = if self.originated.is_full() { None } else { self.pool.alloc() };
        let Some(mut packet) = packet else {
            self.count_drop(DropReason::PoolExhausted);
            return false;
        };
        let made = packet.append(length).is_some_and(fill);
        if made {
            let meta = Meta { own: true, ..meta.addressed(packet.data()) };
            self.originated.push(Slot { packet, meta });
        } else {
            self.count_drop(DropReason::NoRoom);
        }
        made
    }
}
