//! The virtual router that the gateway addresses of a link belong to, where they are elected for (RFC 9568).

use crate::context::Version;
use crate::wire::vrrp::Vrid;
use arrayvec::ArrayVec;
use std::net::IpAddr;

/// Most addresses of one virtual router.
pub const MAX_VIRTUAL_ADDRESSES: usize = 8;

/// A virtual router of a link (RFC 9568).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualRouter {
    /// Its number on the link.
    pub number: Vrid,
    /// Its addresses; of IPv6 the link-local one first (RFC 9568 §5.2.9).
    pub addresses: ArrayVec<IpAddr, MAX_VIRTUAL_ADDRESSES>,
    /// This engine is its Active Router for IPv4, for IPv6.
    pub active: Versions,
    /// The checksum of what is sent over IPv4 covers a pseudo-header.
    pub pseudo_header: bool,
}

/// Something that is so for one IP version and may not be for the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// For IPv4.
    pub v4: bool,
    /// For IPv6.
    pub v6: bool,
}

impl Versions {
    /// For the version of `ip`.
    pub const fn of(self, ip: IpAddr) -> bool {
        if ip.is_ipv4() { self.v4 } else { self.v6 }
    }

    /// With another value for one version.
    pub const fn with(self, version: Version, is: bool) -> Versions {
        match version {
            Version::V4 => Versions { v4: is, ..self },
            Version::V6 => Versions { v6: is, ..self },
        }
    }
}
