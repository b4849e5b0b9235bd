//! Probes: the unauthenticated packets of STAMP (RFC 8762 §4.2.1, §4.3.1) with its session identifier
//! (RFC 8972 §3). Timestamps are nanoseconds on the clock of the engine that took them, not NTP or PTP time;
//! both ends are Foreshift engines, and no two clocks are ever compared.

use super::{Result, put, view};
use crate::id::Nanos;
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The reflector's UDP port (RFC 8762 §4.1).
pub const PORT: u16 = 862;
/// Bytes of either packet; both are of one size, so that neither direction carries more (RFC 8762 §4.3).
pub const LENGTH: usize = size_of::<Reply>();
/// Clock not synchronised, multiplier 1, which may not be 0 (RFC 4656 §4.1.2).
const ERROR_ESTIMATE: U16 = U16::new(1);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Request {
    sequence: U32,
    timestamp: U64,
    error_estimate: U16,
    session: U16,
    zero: [u8; 28],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Reply {
    sequence: U32,
    timestamp: U64,
    error_estimate: U16,
    session: U16,
    received: U64,
    sender_sequence: U32,
    sender_timestamp: U64,
    sender_error_estimate: U16,
    zero: [u8; 2],
    sender_ttl: u8,
    last: [u8; 3],
}

const _: () = assert!(size_of::<Request>() == LENGTH && LENGTH == 44);

/// A probe, from the session-sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Counts the session's probes.
    pub sequence: u32,
    /// Names the session (SSID).
    pub session: u16,
    /// When it was sent, on the sender's clock.
    pub sent: Nanos,
}

/// The answer, from the session-reflector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reflection {
    /// Counts the session's answers: the reflector is stateful (RFC 8762 §4.3), so that a missing probe and a
    /// missing answer can be told apart.
    pub sequence: u32,
    /// When the answer was sent, on the reflector's clock.
    pub sent: Nanos,
    /// When the probe arrived, on the reflector's clock.
    pub received: Nanos,
    /// The probe it answers.
    pub probe: Probe,
    /// The TTL or hop limit the probe arrived with.
    pub probe_ttl: u8,
}

impl Probe {
    /// The probe in a UDP payload; must-be-zero fields and anything behind are ignored (RFC 8762 §4.2).
    pub fn parse(payload: &[u8]) -> Result<Probe> {
        let (request, _) = view::<Request>(payload)?;
        Ok(Probe {
            sequence: request.sequence.get(),
            session: request.session.get(),
            sent: Nanos(request.timestamp.get()),
        })
    }

    /// Writes the probe at the start of `out` and returns its length, [`LENGTH`].
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        let request = Request {
            sequence: U32::new(self.sequence),
            timestamp: U64::new(self.sent.0),
            error_estimate: ERROR_ESTIMATE,
            session: U16::new(self.session),
            zero: [0; 28],
        };
        put(out, &request)
    }
}

impl Reflection {
    /// The answer in a UDP payload.
    pub fn parse(payload: &[u8]) -> Result<Reflection> {
        let (reply, _) = view::<Reply>(payload)?;
        Ok(Reflection {
            sequence: reply.sequence.get(),
            sent: Nanos(reply.timestamp.get()),
            received: Nanos(reply.received.get()),
            probe: Probe {
                sequence: reply.sender_sequence.get(),
                session: reply.session.get(),
                sent: Nanos(reply.sender_timestamp.get()),
            },
            probe_ttl: reply.sender_ttl,
        })
    }

    /// Writes the answer at the start of `out` and returns its length, [`LENGTH`].
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        let reply = Reply {
            sequence: U32::new(self.sequence),
            timestamp: U64::new(self.sent.0),
            error_estimate: ERROR_ESTIMATE,
            session: U16::new(self.probe.session),
            received: U64::new(self.received.0),
            sender_sequence: U32::new(self.probe.sequence),
            sender_timestamp: U64::new(self.probe.sent.0),
            sender_error_estimate: ERROR_ESTIMATE,
            zero: [0; 2],
            sender_ttl: self.probe_ttl,
            last: [0; 3],
        };
        put(out, &reply)
    }

    /// Time on the way there and back, without the reflector's own (RFC 8762 §4.3.1); `now` is on the sender's
    /// clock.
    pub fn round_trip(&self, now: Nanos) -> Nanos {
        now.since(self.probe.sent).since(self.sent.since(self.received))
    }
}
