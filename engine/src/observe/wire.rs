//! Messages from the engine to a watching client: one byte of kind, four of length (big-endian), the payload.

use super::trace::PacketTrace;
use serde::{Deserialize, Serialize};

/// Longest payload, bytes; a longer one is not from an engine.
pub const PAYLOAD_MAX: usize = 1 << 20;
/// Bytes before the payload.
pub const HEADER: usize = 5;

const JSON: u8 = b'J';
const PCAPNG: u8 = b'P';

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A packet's way.
    Trace(Box<PacketTrace>),
    /// Part of a pcapng file, to be written as it is.
    Pcapng(Vec<u8>),
    /// The last message.
    End(End),
}

/// How an observation ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Packets shown.
    pub shown: u64,
    /// Packets lost because they came faster than they could be taken.
    pub lost: u64,
    /// Packets not looked at because of the bound on records a second.
    pub over_rate: u64,
    /// Why it ended.
    pub why: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Json {
    Trace(Box<PacketTrace>),
    End(End),
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A kind that this version does not know.
    #[error("unknown message kind {0}")]
    Kind(u8),
    /// Longer than any message.
    #[error("a message of {0} bytes")]
    Length(usize),
    /// Not the JSON of a message.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl Message {
    /// Appends the message to `out`.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn write(self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let (kind, payload) = match self {
            Message::Pcapng(bytes) => (PCAPNG, bytes),
            Message::Trace(trace) => (JSON, serde_json::to_vec(&Json::Trace(trace))?),
            Message::End(end) => (JSON, serde_json::to_vec(&Json::End(end))?),
        };
        out.push(kind);
        // Writers keep well below the limit, which fits.
        out.extend((payload.len() as u32).to_be_bytes());
        out.extend(payload);
        Ok(())
    }

    /// The length of the payload that follows this header.
    ///
    /// # Errors
    /// If it is longer than any message.
    pub fn payload_length([_, a, b, c, d]: [u8; HEADER]) -> Result<usize, WireError> {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length <= PAYLOAD_MAX { Ok(length) } else { Err(WireError::Length(length)) }
    }

    /// The message of a header and its payload.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(header: [u8; HEADER], payload: Vec<u8>) -> Result<Message, WireError> {
        match header[0] {
            PCAPNG => Ok(Message::Pcapng(payload)),
            JSON => Ok(match serde_json::from_slice(&payload)? {
                Json::Trace(trace) => Message::Trace(trace),
                Json::End(end) => Message::End(end),
            }),
            kind => Err(WireError::Kind(kind)),
        }
    }
}
