//! The byte that IPv4 calls type of service and IPv6 traffic class: DSCP (RFC 2474) and ECN (RFC 3168).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Explicit congestion notification (RFC 3168 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// The transport is not ECN-capable.
    NotEct = 0,
    /// ECN-capable, ECT(1).
    Ect1 = 1,
    /// ECN-capable, ECT(0).
    Ect0 = 2,
    /// Congestion experienced.
    Ce = 3,
}

/// DSCP and ECN in one byte.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(transparent)]
pub struct TrafficClass(pub u8);

impl TrafficClass {
    /// Network control, CS6 (RFC 4594 §3.1): what the engine's own control traffic carries.
    pub const NETWORK_CONTROL: TrafficClass = TrafficClass(48 << 2);

    /// The DSCP, 0–63.
    #[inline]
    pub const fn dscp(self) -> u8 {
        self.0 >> 2
    }

    /// The ECN field.
    #[inline]
    pub const fn ecn(self) -> Ecn {
        match self.0 & 3 {
            0 => Ecn::NotEct,
            1 => Ecn::Ect1,
            2 => Ecn::Ect0,
            _ => Ecn::Ce,
        }
    }

    /// With another DSCP; bits beyond the lower six are cut off.
    #[inline]
    pub const fn with_dscp(self, dscp: u8) -> TrafficClass {
        TrafficClass(dscp << 2 | self.0 & 3)
    }

    /// With another ECN field.
    #[inline]
    pub const fn with_ecn(self, ecn: Ecn) -> TrafficClass {
        TrafficClass(self.0 & !3 | ecn as u8)
    }
}
