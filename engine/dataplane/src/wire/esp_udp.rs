//! ESP in UDP (RFC 3948): what shares the port with it.

use super::{Result, WireError};

/// The UDP port of IKE and ESP (RFC 3948 §2.1).
pub const PORT: u16 = 4500;
/// A keepalive's whole payload (RFC 3948 §2.3).
pub const KEEPALIVE: u8 = 0xff;

/// What a datagram to [`PORT`] carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// An ESP packet, from its SPI on.
    Esp(&'a [u8]),
    /// An IKE message, behind the non-ESP marker.
    Ike(&'a [u8]),
    /// Keeps a NAT's mapping alive; means nothing else.
    Keepalive,
}

impl<'a> Payload<'a> {
    /// What `payload`, that of a UDP datagram, is.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<Payload<'a>> {
        match payload {
            [KEEPALIVE] => Ok(Payload::Keepalive),
            // The non-ESP marker stands where no SPI is zero (RFC 3948 §2.2).
            [0, 0, 0, 0, message @ ..] => Ok(Payload::Ike(message)),
            esp if esp.len() >= super::esp::HEADER_LENGTH => Ok(Payload::Esp(esp)),
            _ => Err(WireError::Truncated),
        }
    }
}
