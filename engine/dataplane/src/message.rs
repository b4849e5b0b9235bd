//! What control tells one worker, and what a worker reports. Values that must be freed go back to
//! control in a [`Event::Retired`]: workers free nothing.

use crate::id::{InterfaceId, Nanos, Spi, TunnelId};
use crate::mirror::Mirror;
use crate::neighbor::Claim;
use crate::observe::Observer;
use crate::sa::{InboundSa, OutboundSa};
use crate::wire::MacAddr;
use crate::wire::bfd::{Diagnostic, State};
use crate::wireguard::{Datagram, Receiver, Role, Session};
use std::net::IpAddr;

/// An inbound SA and the tunnel it belongs to.
pub struct Inbound {
    /// The tunnel.
    pub tunnel: TunnelId,
    /// The state.
    pub sa: InboundSa,
}

/// A change to a worker's own state.
pub enum Command {
    /// Accept a new SPI.
    InstallInbound(Box<Inbound>),
    /// Use this SA for the tunnel from now on.
    InstallOutbound(TunnelId, Box<OutboundSa>),
    /// Forget an SPI.
    RemoveInbound(Spi),
    /// Send nothing more for the tunnel.
    RemoveOutbound(TunnelId),
    /// The SA of this SPI, and the one that the tunnel sends under, may be another engine's: report how far it has come, whenever it
    /// has, and let packets wait for those that are not here.
    Share { spi: Spi, tunnel: TunnelId },
    /// Accept no sequence number of this SPI above this; what is above it waits.
    Limit(Spi, u64),
    /// The far end has started anew: its GRE sequence numbers begin again.
    ResetSequence(TunnelId),
    /// Send a STAMP probe inside a tunnel.
    Probe { tunnel: TunnelId, sequence: u32 },
    /// Keep the mapping of the NAT in front of this end of a tunnel alive; WireGuard: send an empty packet.
    Keepalive(TunnelId),
    /// Use the keys of a WireGuard handshake.
    InstallSession(Box<Session>, Role),
    /// Forget the keys of all handshakes of a tunnel.
    RemoveSessions(TunnelId),
    /// Send a message of a WireGuard handshake.
    Send(Box<Datagram>),
    /// Ask for a neighbour, its last known address first if given.
    Solicit { interface: InterfaceId, ip: IpAddr, unicast: Option<MacAddr> },
    /// Tell the link that `ip` is here.
    Announce { interface: InterfaceId, ip: IpAddr },
    /// Advertise the virtual router of an interface: from this address, with this priority, centiseconds apart.
    Advertise { interface: InterfaceId, from: IpAddr, priority: u8, interval_cs: u16 },
    /// Look at packets with this, in place of what looks now.
    Observe(Box<Observer>),
    /// Look no more.
    Unobserve,
    /// Mirror a part of the traffic with this, in place of what does now.
    Mirror(Box<Mirror>),
    /// Mirror no more.
    Unmirror,
}

/// Something control should know.
pub enum Event {
    /// A packet waits for this neighbour.
    NeighborWanted { interface: InterfaceId, ip: IpAddr },
    /// A neighbour told its address; `claim` says how sure that is.
    NeighborSeen { interface: InterfaceId, ip: IpAddr, mac: MacAddr, claim: Claim },
    /// A probe came home; `reflector_sequence` counts probes the far end reflected.
    ProbeReply { tunnel: TunnelId, sequence: u32, reflector_sequence: u32, rtt: Nanos },
    /// The SA was installed.
    InboundInstalled(Spi),
    /// The SA is in use.
    OutboundInstalled(TunnelId, Spi),
    /// The highest sequence number that came under a shared SA, accepted or above its limit.
    Reached(Spi, u64),
    /// This limit of an SA is in force.
    Limited(Spi, u64),
    /// The tunnel's outbound SA should be replaced soon.
    SoftLimit(TunnelId),
    /// A router on the way carries no larger outer packet than this, bytes (RFC 1191, RFC 8201). For ESP
    /// control checks that `spi` is one that some worker sends with.
    PathMtu { tunnel: TunnelId, spi: Option<Spi>, mtu: u16 },
    /// A BFD session, by its place, has this state now, and last left Up for this reason.
    Bfd { session: usize, state: State, diagnostic: Diagnostic },
    /// Another router of the interface's virtual router has this priority, and says so every so many centiseconds.
    Advertised { interface: InterfaceId, from: IpAddr, priority: u8, interval_cs: u16 },
    /// The newest authentic packet of a WireGuard tunnel, or of one whose far end is behind a NAT, came from another
    /// address or UDP port than those it is sent to.
    FarEnd { tunnel: TunnelId, ip: IpAddr, port: u16 },
    /// Such a far end has sent a probe, from its own address.
    FarInside { tunnel: TunnelId, ip: IpAddr },
    /// The far end uses the session that it has asked for.
    SessionConfirmed(Receiver),
    /// State taken out of use, to be freed.
    Retired(Retired),
}

/// State a worker no longer uses.
pub enum Retired {
    /// An inbound SA.
    Inbound(Box<Inbound>),
    /// An outbound SA.
    Outbound(Box<OutboundSa>),
    /// A WireGuard session.
    Session(Box<Session>),
    /// A message that was sent.
    Datagram(Box<Datagram>),
    /// What looked at packets, with the records it still held.
    Observer(Box<Observer>),
    /// What mirrored packets, with the copies it still held.
    Mirror(Box<Mirror>),
}
