//! BFD control packets (RFC 5880 §4.1) without authentication.

use super::{Result, WireError, put, view};
use std::time::Duration;
use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The UDP port of single-hop sessions (RFC 5881 §4).
pub const PORT: u16 = 3784;
/// That of multihop sessions (RFC 5883 §5).
pub const MULTIHOP_PORT: u16 = 4784;
/// Bytes of a packet.
pub const LENGTH: usize = size_of::<Header>();

const VERSION: u8 = 1;
const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    version_diagnostic: u8,
    state_flags: u8,
    detect_multiplier: u8,
    length: u8,
    my_discriminator: U32,
    your_discriminator: U32,
    desired_min_tx_us: U32,
    required_min_rx_us: U32,
    required_min_echo_rx_us: U32,
}

const _: () = assert!(LENGTH == 24);

/// The state of a session (RFC 5880 §6.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum State {
    /// A person has taken it down.
    AdminDown,
    /// Nothing is heard, or it has just been.
    #[default]
    Down,
    /// The far end is heard, and does not yet say that it hears.
    Init,
    /// Both hear.
    Up,
}

/// Why a session was last left (RFC 5880 §4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Diagnostic(pub u8);

impl Diagnostic {
    /// No reason.
    pub const NONE: Diagnostic = Diagnostic(0);
    /// Control Detection Time Expired.
    pub const TIMED_OUT: Diagnostic = Diagnostic(1);
    /// Neighbor Signaled Session Down.
    pub const NEIGHBOR_DOWN: Diagnostic = Diagnostic(3);
}

/// A control packet. Intervals are whole microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// Why the sender last left Up.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// An answer is wanted at once.
    pub poll: bool,
    /// The answer to a poll.
    pub final_: bool,
    /// The sender asks not to be sent packets periodically.
    pub demand: bool,
    /// Packets that may be missed.
    pub detect_multiplier: u8,
    /// The sender's name of the session; not 0.
    pub my_discriminator: u32,
    /// The receiver's name of it as the sender knows it, or 0.
    pub your_discriminator: u32,
    /// The sender would like to send no faster.
    pub desired_min_tx: Duration,
    /// The sender can take packets no faster; zero asks for none.
    pub required_min_rx: Duration,
}

impl Control {
    /// The packet in a UDP payload, as far as RFC 5880 §6.8.6 lets it be judged without knowing the session.
    ///
    /// # Errors
    /// Of another version, too short, with authentication (which no session here has), with fields that may not be zero.
    pub fn parse(payload: &[u8]) -> Result<Control> {
        let (header, _) = view::<Header>(payload)?;
        if header.version_diagnostic >> 5 != VERSION {
            return Err(WireError::Version);
        }
        let length = usize::from(header.length);
        if length < LENGTH || length > payload.len() {
            return Err(WireError::TotalLength);
        }
        let flags = header.state_flags;
        if flags & AUTHENTICATION != 0 {
            return Err(WireError::Unsupported);
        }
        let control = Control {
            diagnostic: Diagnostic(header.version_diagnostic & 0x1f),
            state: match flags >> 6 {
                0 => State::AdminDown,
                1 => State::Down,
                2 => State::Init,
                _ => State::Up,
            },
            poll: flags & POLL != 0,
            final_: flags & FINAL != 0,
            demand: flags & DEMAND != 0,
            detect_multiplier: header.detect_multiplier,
            my_discriminator: header.my_discriminator.get(),
            your_discriminator: header.your_discriminator.get(),
            desired_min_tx: microseconds(header.desired_min_tx_us),
            required_min_rx: microseconds(header.required_min_rx_us),
        };
        let knows_us =
            control.your_discriminator != 0 || matches!(control.state, State::Down | State::AdminDown);
        let reserved =
            flags & MULTIPOINT != 0 || control.detect_multiplier == 0 || control.my_discriminator == 0;
        if reserved || !knows_us {
            return Err(WireError::Reserved);
        }
        Ok(control)
    }

    /// Writes the packet at the start of `out` and returns its length, [`LENGTH`].
    ///
    /// # Errors
    /// No room.
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let state = match self.state {
            State::AdminDown => 0,
            State::Down => 1,
            State::Init => 2,
            State::Up => 3,
        };
        let flags = flag(self.poll, POLL) | flag(self.final_, FINAL) | flag(self.demand, DEMAND);
        let header = Header {
            version_diagnostic: VERSION << 5 | self.diagnostic.0 & 0x1f,
            state_flags: state << 6 | flags,
            detect_multiplier: self.detect_multiplier,
            length: LENGTH as u8,
            my_discriminator: U32::new(self.my_discriminator),
            your_discriminator: U32::new(self.your_discriminator),
            desired_min_tx_us: in_microseconds(self.desired_min_tx),
            required_min_rx_us: in_microseconds(self.required_min_rx),
            // No echo function.
            required_min_echo_rx_us: U32::new(0),
        };
        put(out, &header)
    }
}

fn microseconds(value: U32) -> Duration {
    Duration::from_micros(value.get().into())
}

fn in_microseconds(value: Duration) -> U32 {
    U32::new(u32::try_from(value.as_micros()).unwrap_or(u32::MAX))
}
