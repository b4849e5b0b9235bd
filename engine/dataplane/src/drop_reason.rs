//! One name for every way a packet can end other than by transmission.

use std::fmt;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a packet was not transmitted. Each ended packet is counted under exactly one reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $variant,)*
        }

        impl DropReason {
            /// All reasons, in the order of their counters.
            pub const ALL: &[DropReason] = &[$(DropReason::$variant,)*];

            /// The name in metrics and in `foreshift show drops`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(DropReason::$variant => $name,)*
                }
            }

            /// The reason of this name.
            pub fn from_name(name: &str) -> Option<DropReason> {
                Self::ALL.iter().copied().find(|reason| reason.name() == name)
            }

            /// The packet did its work here: nothing was lost.
            pub const fn is_consumed(self) -> bool {
                matches!(
                    self,
                    DropReason::NeighborConsumed
                        | DropReason::ProbeConsumed
                        | DropReason::IcmpConsumed
                        | DropReason::KeepaliveConsumed
                        | DropReason::HandshakeConsumed
                        | DropReason::Fragmented
                )
            }
        }
    };
}

drop_reasons! {
    // Consumed: the packet did its work here.
    /// An ARP or ND message that was for this engine and needs no answer, or was answered anew.
    NeighborConsumed = "neighbor_consumed",
    /// A probe reply that came home.
    ProbeConsumed = "probe_consumed",
    /// An ICMP error about this engine's own packets.
    IcmpConsumed = "icmp_consumed",
    /// A NAT keepalive from a tunnel's far end (RFC 3948 §2.3), or an empty packet of WireGuard's.
    KeepaliveConsumed = "keepalive_consumed",
    /// A message of a WireGuard handshake, given to control.
    HandshakeConsumed = "handshake_consumed",
    /// Sent on in fragments, which were counted as originated.
    Fragmented = "fragmented",
    /// Joined with the other fragments of its datagram, which goes on as one packet.
    Reassembled = "reassembled",
    // Link layer.
    /// Not addressed to this engine's MAC (RFC 1812 §5.3.4).
    NotForUs = "not_for_us",
    /// A VLAN or an EtherType that no interface has.
    UnknownEtherType = "unknown_ether_type",
    /// An 802.1Q tag that no interface of the port has.
    UnknownVlan = "unknown_vlan",
    /// The frame ends before its headers do.
    Truncated = "truncated",
    // IP.
    /// Wrong IP version, header length, total length.
    BadIpHeader = "bad_ip_header",
    /// IPv6 extension headers out of place, or more of them than any packet has (RFC 8200 §4.1).
    BadExtension = "bad_extension",
    /// Wrong checksum of the IPv4 header.
    BadChecksum = "bad_checksum",
    /// An address that must not be a source or destination here (RFC 1812 §5.3.7, RFC 4291 §2.5).
    Martian = "martian",
    /// A source that this way does not lead to (RFC 4301 §5.2, RFC 3704), or that a WireGuard peer may not use.
    Spoofed = "spoofed",
    /// Multicast or broadcast, which this engine does not route.
    Multicast = "multicast",
    /// TTL or hop limit ran out.
    TtlExpired = "ttl_expired",
    /// No route.
    NoRoute = "no_route",
    /// A blackhole route.
    Blackhole = "blackhole",
    /// Larger than the next MTU and not to be fragmented; the sender was told.
    TooBig = "too_big",
    /// Malformed ARP or ND (RFC 826, RFC 4861 §7.1).
    BadNeighborMessage = "bad_neighbor_message",
    /// Malformed or damaged VRRP (RFC 9568 §7.1).
    BadAdvertisement = "bad_advertisement",
    /// For this engine, but nothing here answers it.
    NoListener = "no_listener",
    /// Waited too long, or too many waited, for the neighbour's address.
    NeighborUnresolved = "neighbor_unresolved",
    // Fragments that were to be joined.
    /// One that no sender makes (RFC 791 §3.2, RFC 8200 §4.5).
    FragmentMalformed = "fragment_malformed",
    /// The same fragment again.
    FragmentDuplicate = "fragment_duplicate",
    /// Its datagram has fragments that overlap or contradict each other (RFC 5722 §4).
    FragmentOverlap = "fragment_overlap",
    /// Its datagram has more fragments, or more bytes, than are joined.
    FragmentTooMany = "fragment_too_many",
    /// The rest did not come in time.
    FragmentTimeout = "fragment_timeout",
    /// Made room for newer ones.
    FragmentEvicted = "fragment_evicted",
    // Tunnels.
    /// ESP with an SPI that no SA has (RFC 4303 §3.4.2), or WireGuard for a receiver that no session has.
    UnknownSpi = "unknown_spi",
    /// GRE, IP-in-IP or VXLAN between endpoints, or with a key or VNI, that no tunnel has.
    UnknownTunnel = "unknown_tunnel",
    /// A malformed tunnel header, or an inner protocol that is not IP.
    BadEncapsulation = "bad_encapsulation",
    /// Seen before, or older than the replay window (RFC 4303 §3.4.3).
    Replayed = "replayed",
    /// New and authentic, of an SA that another engine may take over, but further ahead than that engine knows; too many
    /// others wait until it does, or the SA went before it did.
    Unreserved = "unreserved",
    /// A GRE sequence number that went back (RFC 2890 §2.2).
    OutOfSequence = "out_of_sequence",
    /// The ICV is wrong.
    Authentication = "authentication",
    /// A fragment of a tunnel packet from where no tunnel ends.
    FragmentedTunnel = "fragmented_tunnel",
    /// Congestion marked on a packet that cannot carry it (RFC 6040 §4.2).
    CongestionLost = "congestion_lost",
    /// No SA to send with yet.
    NoSa = "no_sa",
    /// The SA's sequence numbers are used up, or a WireGuard session's time is.
    SaExhausted = "sa_exhausted",
    /// No member of the tunnel group is up, or only the one it came from.
    NoTunnel = "no_tunnel",
    /// Too many packets of its class wait for the tunnel's shaper.
    Shaped = "shaped",
    // Access.
    /// A rule of the access list denies it, or none permits it.
    AclDenied = "acl_denied",
    /// A rule of the access list rejects it; its sender was told.
    AclRejected = "acl_rejected",
    /// No room for its session.
    SessionTableFull = "session_table_full",
    /// No outside port is free for it.
    NatExhausted = "nat_exhausted",
    /// A fragment without ports that NAT would have to translate.
    NatFragment = "nat_fragment",
    /// A protocol that NAT cannot translate.
    NatUnsupported = "nat_unsupported",
    // Ownership.
    /// This engine's right to forward has run out.
    LeaseExpired = "lease_expired",
    /// From an engine whose epoch is over.
    StaleEpoch = "stale_epoch",
    // Resources.
    /// No buffer for a packet of our own.
    PoolExhausted = "pool_exhausted",
    /// No headroom or tailroom for a header.
    NoRoom = "no_room",
    /// The TX ring stayed full.
    TxFull = "tx_full",
    /// More packets of moving buckets wait for a MARK than there is room for.
    HoldFull = "hold_full",
    /// The ring to the worker that owns the SA was full.
    HandoffFull = "handoff_full",
    /// More messages of WireGuard handshakes than control can keep up with.
    HandshakeOverflow = "handshake_overflow",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
