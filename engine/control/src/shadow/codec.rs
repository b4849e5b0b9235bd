//! The octets of the channel. A frame is a 32-bit length in network order, an octet that says what it is, and the rest;
//! all numbers are in network order. A batch's entries follow each other without anything between them: a TCP session
//! over IPv4 takes 19 octets, its end 14.

use super::sas::{KeyId, SaState, SaWindow};
use crate::message::SaParameters;
use dataplane::flow::{AnyTuple, SessionKey, Track, Tuple};
use dataplane::id::Spi;
use dataplane::sa::Algorithm;
use dataplane::shadow::{FlowChange, FlowState};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest frame, octets behind the length.
pub const FRAME_MAX: usize = 256 * 1024;
/// The longest entry.
pub const ENTRY_MAX: usize = 1024;
/// The most interfaces that a [`Frame::Hello`] names.
pub const INPUTS_MAX: usize = 1024;

/// What goes over the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first one from the engine whose sessions they are: its interfaces' names, by number.
    Hello {
        /// What [`FlowState::input`] counts.
        inputs: Vec<String>,
    },
    /// Changes, in order.
    Batch {
        /// Counts from 1 on each connection.
        number: u64,
        /// Encoded [`Entry`]s.
        entries: Vec<u8>,
    },
    /// The shadow has everything up to this batch.
    Ack {
        /// Its number.
        number: u64,
    },
}

/// One of the things in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A session has changed.
    Flow(FlowChange),
    /// Everything follows, mixed with changes.
    RoundBegins,
    /// Everything was named since the round began: what was not is no more.
    RoundEnds,
    /// An SA that may be taken over.
    Sa(SaState),
    /// The inbound half of one goes further, or not so far any more.
    Limit {
        /// The inbound key.
        key: KeyId,
        /// No sequence number above this is accepted.
        limit: u64,
        /// Numbers in a second lately, at most.
        rate: u32,
    },
    /// Its engine has let go of an SA: exactly these sequence numbers were accepted.
    Window {
        /// The inbound key.
        key: KeyId,
        /// Them.
        window: SaWindow,
    },
}

/// Octets that are no frame or no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// They end too early.
    #[error("it breaks off")]
    Short,
    /// There are more than it says.
    #[error("octets follow that do not belong to it")]
    Long,
    /// A kind that this version does not know.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// A value that cannot be.
    #[error("{0} cannot be")]
    Value(&'static str),
}

impl Frame {
    /// As it is sent, its length included.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        match self {
            Frame::Hello { inputs } => {
                out.push(1);
                out.extend((inputs.len() as u16).to_be_bytes());
                for name in inputs {
                    out.push(name.len() as u8);
                    out.extend(name.as_bytes());
                }
            }
            Frame::Batch { number, entries } => {
                out.push(2);
                out.extend(number.to_be_bytes());
                out.extend(entries);
            }
            Frame::Ack { number } => {
                out.push(3);
                out.extend(number.to_be_bytes());
            }
        }
        let length = out.len() as u32 - 4;
        out[..4].copy_from_slice(&length.to_be_bytes());
        out
    }

    /// What the octets behind a length say.
    ///
    /// # Errors
    /// If they are no frame. The entries of a batch are read by [`entries`].
    pub fn decode(octets: &[u8]) -> Result<Frame, CodecError> {
        let mut from = Reader(octets);
        let frame = match from.octet()? {
            1 => {
                let many = usize::from(u16::from_be_bytes(from.take()?));
                if many > INPUTS_MAX {
                    return Err(CodecError::Value("so many interfaces"));
                }
                let inputs = (0..many).map(|_| from.name()).collect::<Result<_, _>>()?;
                Frame::Hello { inputs }
            }
            2 => {
                let number = u64::from_be_bytes(from.take()?);
                Frame::Batch { number, entries: std::mem::take(&mut from.0).to_vec() }
            }
            3 => Frame::Ack { number: u64::from_be_bytes(from.take()?) },
            other => return Err(CodecError::Kind(other)),
        };
        if from.0.is_empty() { Ok(frame) } else { Err(CodecError::Long) }
    }
}

/// The entries of a batch; after an error there are no more.
pub fn entries(octets: &[u8]) -> impl Iterator<Item = Result<Entry, CodecError>> + '_ {
    let mut from = Reader(octets);
    std::iter::from_fn(move || {
        if from.0.is_empty() {
            return None;
        }
        let entry = Entry::decode(&mut from);
        if entry.is_err() {
            from.0 = &[];
        }
        Some(entry)
    })
}

const LIVE: u8 = 0x10;
const ENDED: u8 = 0x20;
/// Added to both of these.
const V4: u8 = 0;
const V4_NAT: u8 = 1;
const V6: u8 = 2;

impl Entry {
    /// Appends it to a batch's entries.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Entry::Flow(FlowChange::Live(state)) => {
                put_key(out, LIVE, &state.key);
                out.push(state.track.octet());
                out.extend(state.idle.to_be_bytes());
                out.extend(state.input.to_be_bytes());
            }
            Entry::Flow(FlowChange::Ended(key)) => put_key(out, ENDED, key),
            Entry::RoundBegins => out.push(1),
            Entry::RoundEnds => out.push(2),
            Entry::Sa(state) => {
                out.push(3);
                put_sa(out, state);
            }
            Entry::Limit { key, limit, rate } => {
                out.push(4);
                out.extend(key.octets());
                out.extend(limit.to_be_bytes());
                out.extend(rate.to_be_bytes());
            }
            Entry::Window { key, window } => {
                out.push(5);
                out.extend(key.octets());
                out.extend(window.top.to_be_bytes());
                out.push(window.accepted.len() as u8);
                window.accepted.iter().for_each(|word| out.extend(word.to_be_bytes()));
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Entry, CodecError> {
        let kind = from.octet()?;
        Ok(match kind {
            1 => Entry::RoundBegins,
            2 => Entry::RoundEnds,
            3 => Entry::Sa(from.sa()?),
            4 => Entry::Limit {
                key: KeyId::new(from.take()?),
                limit: u64::from_be_bytes(from.take()?),
                rate: u32::from_be_bytes(from.take()?),
            },
            5 => {
                let (key, top) = (KeyId::new(from.take()?), u64::from_be_bytes(from.take()?));
                let many = usize::from(from.octet()?);
                if many > SaWindow::WORDS {
                    return Err(CodecError::Value("so large a window"));
                }
                let words = (0..many).map(|_| Ok(u64::from_be_bytes(from.take()?)));
                Entry::Window { key, window: SaWindow { top, accepted: words.collect::<Result<_, _>>()? } }
            }
            _ if kind & 0xf0 == LIVE => Entry::Flow(FlowChange::Live(FlowState {
                key: from.key(kind & 0xf)?,
                track: Track::from_octet(from.octet()?),
                idle: u16::from_be_bytes(from.take()?),
                input: u16::from_be_bytes(from.take()?),
            })),
            _ if kind & 0xf0 == ENDED => Entry::Flow(FlowChange::Ended(from.key(kind & 0xf)?)),
            other => return Err(CodecError::Kind(other)),
        })
    }
}

#[inline]
fn put_key(out: &mut Vec<u8>, what: u8, key: &SessionKey) {
    match key {
        SessionKey::V4 { forward, reverse } => {
            let translated = key.is_translated();
            out.push(what | if translated { V4_NAT } else { V4 });
            let mut octets = [0; 13];
            octets[..4].copy_from_slice(&forward.src.octets());
            octets[4..8].copy_from_slice(&forward.dst.octets());
            octets[8..10].copy_from_slice(&forward.src_port.to_be_bytes());
            octets[10..12].copy_from_slice(&forward.dst_port.to_be_bytes());
            octets[12] = forward.protocol;
            out.extend(octets);
            if translated {
                out.extend(reverse.src.octets());
                out.extend(reverse.dst.octets());
                out.extend(reverse.src_port.to_be_bytes());
                out.extend(reverse.dst_port.to_be_bytes());
            }
        }
        SessionKey::V6(forward) => {
            out.push(what | V6);
            out.extend(forward.src.octets());
            out.extend(forward.dst.octets());
            out.extend(forward.src_port.to_be_bytes());
            out.extend(forward.dst_port.to_be_bytes());
            out.push(forward.protocol);
        }
    }
}

fn put_sa(out: &mut Vec<u8>, state: &SaState) {
    out.extend(state.key_in.octets());
    out.extend(state.key_out.octets());
    out.extend(state.spi_in.0.to_be_bytes());
    out.extend(state.spi_out.0.to_be_bytes());
    let algorithm = match state.parameters.algorithm {
        Algorithm::Aes128Gcm => 1,
        Algorithm::Aes192Gcm => 2,
        Algorithm::Aes256Gcm => 3,
        Algorithm::ChaCha20Poly1305 => 4,
    };
    out.push(algorithm);
    out.push(u8::from(state.parameters.esn));
    out.extend(state.epoch.to_be_bytes());
    out.extend(state.reserved.to_be_bytes());
    out.extend(state.limit.to_be_bytes());
    out.extend(state.rate.to_be_bytes());
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(CodecError::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    fn octet(&mut self) -> Result<u8, CodecError> {
        self.take().map(|[octet]| octet)
    }

    fn name(&mut self) -> Result<String, CodecError> {
        let length = usize::from(self.octet()?);
        let (name, rest) = self.0.split_at_checked(length).ok_or(CodecError::Short)?;
        self.0 = rest;
        String::from_utf8(name.to_vec()).map_err(|_| CodecError::Value("a name that is no text"))
    }

    fn key(&mut self, form: u8) -> Result<SessionKey, CodecError> {
        if form == V6 {
            let (src, dst) = (Ipv6Addr::from(self.take::<16>()?), Ipv6Addr::from(self.take::<16>()?));
            let (src_port, dst_port) = (u16::from_be_bytes(self.take()?), u16::from_be_bytes(self.take()?));
            return Ok(SessionKey::V6(Tuple { src, dst, src_port, dst_port, protocol: self.octet()? }));
        }
        if form != V4 && form != V4_NAT {
            return Err(CodecError::Kind(form));
        }
        let forward = self.ends()?;
        let forward = Tuple { protocol: self.octet()?, ..forward };
        if form == V4 {
            return Ok(SessionKey::plain(AnyTuple::V4(forward)));
        }
        let key = SessionKey::V4 { forward, reverse: Tuple { protocol: forward.protocol, ..self.ends()? } };
        if key.is_translated() { Ok(key) } else { Err(CodecError::Value("a translation into itself")) }
    }

    fn ends(&mut self) -> Result<Tuple<Ipv4Addr>, CodecError> {
        let (src, dst) = (Ipv4Addr::from(self.take::<4>()?), Ipv4Addr::from(self.take::<4>()?));
        let (src_port, dst_port) = (u16::from_be_bytes(self.take()?), u16::from_be_bytes(self.take()?));
        Ok(Tuple { src, dst, src_port, dst_port, protocol: 0 })
    }

    fn sa(&mut self) -> Result<SaState, CodecError> {
        let (key_in, key_out) = (KeyId::new(self.take()?), KeyId::new(self.take()?));
        let (spi_in, spi_out) =
            (Spi(u32::from_be_bytes(self.take()?)), Spi(u32::from_be_bytes(self.take()?)));
        let algorithm = match self.octet()? {
            1 => Algorithm::Aes128Gcm,
            2 => Algorithm::Aes192Gcm,
            3 => Algorithm::Aes256Gcm,
            4 => Algorithm::ChaCha20Poly1305,
            _ => return Err(CodecError::Value("this algorithm")),
        };
        let esn = match self.octet()? {
            0 => false,
            1 => true,
            _ => return Err(CodecError::Value("this kind of sequence numbers")),
        };
        Ok(SaState {
            key_in,
            key_out,
            spi_in,
            spi_out,
            parameters: SaParameters { algorithm, esn },
            epoch: u16::from_be_bytes(self.take()?),
            reserved: u64::from_be_bytes(self.take()?),
            limit: u64::from_be_bytes(self.take()?),
            rate: u32::from_be_bytes(self.take()?),
        })
    }
}
