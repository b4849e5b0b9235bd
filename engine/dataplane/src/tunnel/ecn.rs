//! DSCP and ECN through a tunnel (RFC 6040).

use crate::context::Version;
use crate::drop_reason::DropReason;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::{Ecn, TrafficClass};

/// The traffic class of a packet that was parsed as one of this version.
#[inline(always)]
pub fn class_of(packet: &[u8], version: Version) -> Option<TrafficClass> {
    let &[first, second] = packet.first_chunk()?;
    // RFC 791 §3.1; RFC 8200 §3: between version and flow label.
    Some(TrafficClass(if version == Version::V4 { second } else { first << 4 | second >> 4 }))
}

/// The inner ECN field after decapsulation, by the table of RFC 6040 §4.2; `None`: drop.
pub const fn combine(inner: Ecn, outer: Ecn) -> Option<Ecn> {
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => None,
        (Ecn::NotEct, _) => Some(Ecn::NotEct),
        (Ecn::Ce, _) | (_, Ecn::Ce) => Some(Ecn::Ce),
        (Ecn::Ect0, Ecn::Ect1) => Some(Ecn::Ect1),
        (inner, _) => Some(inner),
    }
}

/// Carries the outer header's congestion mark into the inner packet.
#[inline]
pub fn decap(inner: &mut [u8], version: Version, outer: TrafficClass) -> Result<(), DropReason> {
    if matches!(outer.ecn(), Ecn::NotEct | Ecn::Ect0) {
        return Ok(()); // columns that change nothing
    }
    let class = class_of(inner, version).ok_or(DropReason::BadIpHeader)?;
    let ecn = combine(class.ecn(), outer.ecn()).ok_or(DropReason::CongestionLost)?;
    if ecn == class.ecn() {
        return Ok(());
    }
    let class = class.with_ecn(ecn);
    match version {
        Version::V4 => Ipv4Header::of(inner).map(|header| header.set_traffic_class(class)),
        Version::V6 => Ipv6Header::of(inner).map(|header| header.set_traffic_class(class)),
    }
    .map_err(|_| DropReason::BadIpHeader)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every cell of the figure in RFC 6040 §4.2.
    #[test]
    fn rfc6040_figure_4() {
        use Ecn::{Ce, Ect0, Ect1, NotEct};
        let columns = [NotEct, Ect0, Ect1, Ce];
        let table = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for (inner, row) in table {
            for (outer, expected) in columns.into_iter().zip(row) {
                assert_eq!(combine(inner, outer), expected, "inner {inner:?}, outer {outer:?}");
            }
        }
    }
}
