//! The octets between the two processes: frames of a 32-bit length in network order, an octet that says what it is, and the rest.

use super::state::EngineState;
use anyhow::{Context as _, Result, bail, ensure};
use control::handover::Word;
use control::shadow::codec::{Entry, entries};
use dataplane::shadow::{FlowChange, FlowState};
use std::io::{ErrorKind, Read, Write};
use zeroize::Zeroizing;

/// The longest frame: a state without sessions has kilobytes, and digests of 65,536 frames a port.
const FRAME_MAX: usize = 64 << 20;
/// Sessions go in frames of about so many octets.
const SESSIONS: usize = 256 * 1024;

const WORD: u8 = 1;
const FLOWS: u8 = 2;
const STATE: u8 = 3;

/// A frame.
pub enum Frame {
    /// A word.
    Word(Word),
    /// Sessions of a worker, by its number.
    Flows(u16, Vec<FlowState>),
    /// Everything else: the last frame of a state.
    State(Box<EngineState>),
}

/// A word as a frame.
pub fn word(word: &Word) -> Result<Vec<u8>> {
    Ok(frame(WORD, &serde_json::to_vec(word).context("a word")?))
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(5 + body.len());
    octets.extend((body.len() as u32 + 1).to_be_bytes());
    octets.push(kind);
    octets.extend(body);
    octets
}

/// Says a word.
pub fn say(to: &mut impl Write, said: &Word) -> Result<()> {
    to.write_all(&word(said)?).context("the other process does not listen")
}

/// Writes a worker's sessions.
pub fn write_flows(
    to: &mut impl Write,
    worker: u16,
    flows: impl Iterator<Item = FlowState>,
) -> Result<usize> {
    let (mut body, mut many) = (worker.to_be_bytes().to_vec(), 0);
    for state in flows {
        Entry::Flow(FlowChange::Live(state)).encode(&mut body);
        many += 1;
        if body.len() > SESSIONS {
            to.write_all(&frame(FLOWS, &body)).context("sessions")?;
            body.truncate(2);
        }
    }
    to.write_all(&frame(FLOWS, &body)).context("sessions")?;
    Ok(many)
}

/// Writes the rest. The buffer has keys in it, and is erased.
pub fn write_state(to: &mut impl Write, state: &EngineState) -> Result<()> {
    let body = Zeroizing::new(serde_json::to_vec(state).context("state")?);
    let whole = Zeroizing::new(frame(STATE, &body));
    to.write_all(&whole).context("state")
}

/// Reads a frame; `None` where the other end is gone, with or without a part of one.
pub fn read(from: &mut impl Read) -> Result<Option<Frame>> {
    let mut length = [0; 4];
    if !filled(from.read_exact(&mut length))? {
        return Ok(None);
    }
    let length = u32::from_be_bytes(length) as usize;
    ensure!((1..=FRAME_MAX).contains(&length), "a frame of {length} octets");
    let mut octets = Zeroizing::new(vec![0; length]);
    if !filled(from.read_exact(&mut octets))? {
        return Ok(None);
    }
    decode(&octets).map(Some)
}

fn filled(read: std::io::Result<()>) -> Result<bool> {
    match read {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
            Ok(false)
        }
        Err(error) => Err(error).context("nothing was read"),
    }
}

/// What the octets behind a length say.
pub fn decode(octets: &[u8]) -> Result<Frame> {
    let (&kind, body) = octets.split_first().context("an empty frame")?;
    Ok(match kind {
        WORD => Frame::Word(serde_json::from_slice(body).context("a word that is not known")?),
        FLOWS => {
            let (worker, body) = body.split_first_chunk().context("sessions of no worker")?;
            Frame::Flows(u16::from_be_bytes(*worker), flows(body)?)
        }
        STATE => Frame::State(Box::new(serde_json::from_slice(body).context("a state that cannot be read")?)),
        other => bail!("a frame of unknown kind {other}"),
    })
}

fn flows(octets: &[u8]) -> Result<Vec<FlowState>> {
    let state = |entry| match entry {
        Ok(Entry::Flow(FlowChange::Live(state))) => Ok(state),
        Ok(_) => bail!("something else among sessions"),
        Err(error) => Err(error).context("sessions"),
    };
    entries(octets).map(state).collect()
}
