//! IP protocol numbers (IANA "Assigned Internet Protocol Numbers"), also the IPv6 next header.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What follows an IP header: the IPv4 protocol field, the IPv6 or ESP next header field.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(transparent)]
pub struct Protocol(pub u8);

impl Protocol {
    /// IPv6 hop-by-hop options (RFC 8200 §4.3).
    pub const HOP_BY_HOP: Protocol = Protocol(0);
    /// ICMP (RFC 792).
    pub const ICMP: Protocol = Protocol(1);
    /// IPv4 in IP (RFC 2003).
    pub const IPV4: Protocol = Protocol(4);
    /// TCP (RFC 9293).
    pub const TCP: Protocol = Protocol(6);
    /// UDP (RFC 768).
    pub const UDP: Protocol = Protocol(17);
    /// DCCP (RFC 4340).
    pub const DCCP: Protocol = Protocol(33);
    /// IPv6 in IP (RFC 2473).
    pub const IPV6: Protocol = Protocol(41);
    /// IPv6 routing header (RFC 8200 §4.4).
    pub const ROUTING: Protocol = Protocol(43);
    /// IPv6 fragment header (RFC 8200 §4.5).
    pub const FRAGMENT: Protocol = Protocol(44);
    /// GRE (RFC 2784).
    pub const GRE: Protocol = Protocol(47);
    /// ESP (RFC 4303).
    pub const ESP: Protocol = Protocol(50);
    /// IP authentication header (RFC 4302).
    pub const AUTHENTICATION: Protocol = Protocol(51);
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: Protocol = Protocol(58);
    /// Nothing follows (RFC 8200 §4.7); in ESP a dummy packet (RFC 4303 §2.6).
    pub const NO_NEXT: Protocol = Protocol(59);
    /// IPv6 destination options (RFC 8200 §4.6).
    pub const DESTINATION: Protocol = Protocol(60);
    /// VRRP (RFC 9568 §5.1.1.4).
    pub const VRRP: Protocol = Protocol(112);
    /// SCTP (RFC 9260).
    pub const SCTP: Protocol = Protocol(132);
    /// Mobility header (RFC 6275 §6.1).
    pub const MOBILITY: Protocol = Protocol(135);
    /// UDP-Lite (RFC 3828).
    pub const UDP_LITE: Protocol = Protocol(136);

    /// Host identity protocol (RFC 7401 §5.1).
    pub const HIP: Protocol = Protocol(139);
    /// Shim6 (RFC 5533 §5.1).
    pub const SHIM6: Protocol = Protocol(140);

    /// True for an IPv6 extension header that is followed to find the upper layer.
    #[inline]
    pub const fn is_extension(self) -> bool {
        matches!(
            self,
            Self::HOP_BY_HOP
                | Self::ROUTING
                | Self::FRAGMENT
                | Self::DESTINATION
                | Self::AUTHENTICATION
                | Self::MOBILITY
                | Self::HIP
                | Self::SHIM6
        )
    }

    /// True if the first four bytes are a source and a destination port.
    #[inline]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::DCCP | Self::SCTP | Self::UDP_LITE)
    }
}
