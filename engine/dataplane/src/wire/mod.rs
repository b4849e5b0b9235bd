//! Checked views of headers, each with its RFC. Nothing here allocates, blocks or panics, whatever
//! the bytes: a parser returns a view or a [`WireError`].

pub mod arp;
pub mod bfd;
pub mod checksum;
pub mod esp;
pub mod esp_udp;
pub mod ethernet;
pub mod flow;
pub mod gre;
pub mod icmp;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod link_header;
pub mod ndp;
pub mod protocol;
pub mod stamp;
pub mod tcp;
pub mod traffic_class;
pub mod udp;
pub mod vrrp;
pub mod vxlan;
pub mod wireguard;

mod fuzz;
#[cfg(test)]
mod tests;

pub use ethernet::{EtherType, Ethernet, MacAddr, VlanId};
pub use fuzz::fuzz_all;
pub use protocol::Protocol;
pub use traffic_class::{Ecn, TrafficClass};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Why bytes are not the header they were taken for, or why a header could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WireError {
    /// Fewer bytes than the header, or than a length field inside it, asks for.
    #[error("the packet is shorter than its headers say")]
    Truncated,
    /// The version field names another protocol version.
    #[error("wrong version field")]
    Version,
    /// A header length below the minimum, or beyond the packet.
    #[error("bad header length")]
    HeaderLength,
    /// A total or payload length that contradicts the header.
    #[error("bad total length")]
    TotalLength,
    /// The checksum does not match.
    #[error("bad checksum")]
    Checksum,
    /// A hop limit other than the one the protocol demands.
    #[error("bad hop limit")]
    HopLimit,
    /// An address that may not stand where it stands.
    #[error("address not allowed here")]
    Address,
    /// A malformed option, or one that may not stand where it stands.
    #[error("bad option")]
    Option,
    /// An IPv6 extension header out of place, or too many of them.
    #[error("bad extension header chain")]
    Extension,
    /// Bits or fields that the RFC reserves, set.
    #[error("reserved field set")]
    Reserved,
    /// ESP padding other than 1, 2, 3, …
    #[error("bad padding")]
    Padding,
    /// Well-formed, but nothing this engine handles.
    #[error("not supported")]
    Unsupported,
    /// The caller's slice is too short for what is to be written.
    #[error("no room to write")]
    NoRoom,
}

/// The outcome of a parser or a writer.
pub type Result<T> = std::result::Result<T, WireError>;

/// A `T` at the start of `data`, and what follows it.
#[inline]
fn view<T: FromBytes + KnownLayout + Immutable + Unaligned>(data: &[u8]) -> Result<(&T, &[u8])> {
    T::ref_from_prefix(data).map_err(|_| WireError::Truncated)
}

/// The same, to change.
#[inline]
fn view_mut<T>(data: &mut [u8]) -> Result<(&mut T, &mut [u8])>
where
    T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
{
    T::mut_from_prefix(data).map_err(|_| WireError::Truncated)
}

/// Writes `value` at the start of `out` and returns its length.
#[inline]
fn put<T: IntoBytes + Immutable>(out: &mut [u8], value: &T) -> Result<usize> {
    value.write_to_prefix(out).map_err(|_| WireError::NoRoom)?;
    Ok(size_of::<T>())
}
