//! WireGuard's messages (Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel", §5.4). Numbers are little-endian.

use super::{Result, WireError, put, view};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The UDP port where nothing else is configured.
pub const PORT: u16 = 51_820;
/// Bytes in front of the ciphertext of a data message (§5.4.6).
pub const HEADER_LENGTH: usize = size_of::<Header>();
/// Plaintexts are padded to a multiple of this (§5.4.6).
pub const ALIGNMENT: usize = 16;
/// Bytes of an authentication tag.
const TAG: usize = 16;
/// The longest of the handshake's messages: the first.
pub const HANDSHAKE_MAX: usize = size_of::<Initiation>();

/// A message's type, and three reserved bytes that are zero.
const INITIATION: u32 = 1;
const RESPONSE: u32 = 2;
const COOKIE_REPLY: u32 = 3;
const DATA: u32 = 4;

/// The codes over a handshake's message, its last two fields (§5.4.4).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Macs {
    /// Says that the sender knows the receiver's public key.
    pub mac1: [u8; 16],
    /// Says that the sender gets what is sent to its address; zero where that was not asked for.
    pub mac2: [u8; 16],
}

/// The first message (§5.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Initiation {
    kind: U32,
    sender: U32,
    /// Ephemeral key, sealed static key, sealed timestamp: Noise's message.
    pub noise: [u8; 32 + (32 + TAG) + (12 + TAG)],
    /// Over everything before.
    pub macs: Macs,
}

/// The second message (§5.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Response {
    kind: U32,
    sender: U32,
    receiver: U32,
    /// Ephemeral key, sealed nothing: Noise's message.
    pub noise: [u8; 32 + TAG],
    /// Over everything before.
    pub macs: Macs,
}

/// What answers a handshake's message instead, under load (§5.4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CookieReply {
    kind: U32,
    receiver: U32,
    /// Of XChaCha20.
    pub nonce: [u8; 24],
    /// The sealed cookie.
    pub cookie: [u8; 16 + TAG],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    kind: U32,
    receiver: U32,
    counter: U64,
}

/// The start of a data message (§5.4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    /// The receiver's name of the session.
    pub receiver: u32,
    /// The nonce.
    pub counter: u64,
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// §5.4.2.
    Initiation(&'a Initiation),
    /// §5.4.3.
    Response(&'a Response),
    /// §5.4.7.
    CookieReply(&'a CookieReply),
    /// §5.4.6; the ciphertext begins at [`HEADER_LENGTH`].
    Data(Data),
}

impl<'a> Message<'a> {
    /// The message that `datagram`, a whole UDP payload, is. Those of the handshake have one length each.
    #[inline]
    pub fn parse(datagram: &'a [u8]) -> Result<Message<'a>> {
        let (kind, _) = view::<U32>(datagram)?;
        match kind.get() {
            DATA => Ok(Message::Data(Data::parse(datagram)?)),
            INITIATION => whole(datagram).map(Message::Initiation),
            RESPONSE => whole(datagram).map(Message::Response),
            COOKIE_REPLY => whole(datagram).map(Message::CookieReply),
            _ => Err(WireError::Unsupported),
        }
    }
}

/// A `T`, and nothing behind it.
fn whole<T: FromBytes + KnownLayout + Immutable + Unaligned>(datagram: &[u8]) -> Result<&T> {
    match view::<T>(datagram)? {
        (message, []) => Ok(message),
        _ => Err(WireError::TotalLength),
    }
}

impl Data {
    /// The start of `datagram`, which has room for the tag of an empty plaintext.
    #[inline]
    pub fn parse(datagram: &[u8]) -> Result<Data> {
        let (header, sealed) = view::<Header>(datagram)?;
        if header.kind.get() != DATA {
            return Err(WireError::Unsupported);
        }
        if sealed.len() < TAG {
            return Err(WireError::Truncated);
        }
        Ok(Data { receiver: header.receiver.get(), counter: header.counter.get() })
    }

    /// Writes it at the start of `out` and returns its length, [`HEADER_LENGTH`].
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        let (receiver, counter) = (U32::new(self.receiver), U64::new(self.counter));
        put(out, &Header { kind: U32::new(DATA), receiver, counter })
    }

    /// The receiver that the start of a data message names, as much of it as an ICMP error quotes.
    pub fn quoted(start: &[u8]) -> Option<u32> {
        let (kind, rest) = start.split_first_chunk()?;
        let receiver = rest.first_chunk().copied().map(u32::from_le_bytes);
        receiver.filter(|_| u32::from_le_bytes(*kind) == DATA)
    }
}

impl Initiation {
    /// From `sender`, without its codes.
    pub fn new(sender: u32, noise: [u8; 108]) -> Initiation {
        Initiation { kind: U32::new(INITIATION), sender: U32::new(sender), noise, macs: Macs::default() }
    }

    /// The initiator's name of the session.
    pub const fn sender(&self) -> u32 {
        self.sender.get()
    }

    /// The whole of it.
    pub fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    /// What the codes are over.
    pub fn body(&self) -> &[u8] {
        let bytes = self.as_bytes();
        &bytes[..bytes.len() - size_of::<Macs>()]
    }
}

impl Response {
    /// From `sender` to `receiver`, without its codes.
    pub fn new(sender: u32, receiver: u32, noise: [u8; 48]) -> Response {
        let (sender, receiver) = (U32::new(sender), U32::new(receiver));
        Response { kind: U32::new(RESPONSE), sender, receiver, noise, macs: Macs::default() }
    }

    /// The responder's name of the session.
    pub const fn sender(&self) -> u32 {
        self.sender.get()
    }

    /// The initiator's.
    pub const fn receiver(&self) -> u32 {
        self.receiver.get()
    }

    /// The whole of it.
    pub fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    /// What the codes are over.
    pub fn body(&self) -> &[u8] {
        let bytes = self.as_bytes();
        &bytes[..bytes.len() - size_of::<Macs>()]
    }
}

impl CookieReply {
    /// To `receiver`.
    pub fn new(receiver: u32, nonce: [u8; 24], cookie: [u8; 32]) -> CookieReply {
        CookieReply { kind: U32::new(COOKIE_REPLY), receiver: U32::new(receiver), nonce, cookie }
    }

    /// Whose message it answers.
    pub const fn receiver(&self) -> u32 {
        self.receiver.get()
    }

    /// The whole of it.
    pub fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}
