//! Framing of a mirror's connection: a 32-bit length in network order, an octet that says what follows, and that. The length
//! counts both.

use crate::peer::frame::head;
use control::mirror::{Hello, MirrorReport};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest frame, octets; its length not counted.
pub const LENGTH_MAX: usize = 64 * 1024;

/// What follows a length.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// JSON: the first one of who mirrors.
    Hello(Hello),
    /// [`dataplane::mirror::wire`] records.
    Copies(Vec<u8>),
    /// JSON: what the shadow says, the first at once and then every second.
    Report(Box<MirrorReport>),
}

const HELLO: u8 = 1;
const COPIES: u8 = 2;
const REPORT: u8 = 3;

/// Why nothing more can be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other end has ended the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The network, or TLS.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Empty, or longer than [`LENGTH_MAX`].
    #[error("malformed frame: length {0}")]
    Length(usize),
    /// Nothing that this version knows.
    #[error("malformed frame: kind {0}")]
    Kind(u8),
    /// Not what its kind says.
    #[error("malformed frame: {0}")]
    Json(#[from] serde_json::Error),
}

impl Frame {
    fn decode(kind: u8, body: &[u8]) -> Result<Frame, FrameError> {
        Ok(match kind {
            HELLO => Frame::Hello(serde_json::from_slice(body)?),
            COPIES => Frame::Copies(body.to_vec()),
            REPORT => Frame::Report(serde_json::from_slice(body)?),
            other => return Err(FrameError::Kind(other)),
        })
    }
}

/// The frame of a hello. `None` if there are more names than fit.
pub fn hello(hello: &Hello) -> Option<Vec<u8>> {
    json(HELLO, hello)
}

/// The frame of a report. `None` if it is too long: its examples are short and few.
pub fn report(report: &MirrorReport) -> Option<Vec<u8>> {
    json(REPORT, report)
}

fn json(kind: u8, value: &impl Serialize) -> Option<Vec<u8>> {
    let mut frame = vec![0, 0, 0, 0, kind];
    serde_json::to_writer(&mut frame, value).ok()?;
    finish(&mut frame).then_some(frame)
}

/// Empties `frame` and begins one of copies, to which records are appended.
pub fn begin_copies(frame: &mut Vec<u8>) {
    frame.clear();
    frame.extend([0, 0, 0, 0, COPIES]);
}

/// Whether a frame of copies has any.
pub fn has_copies(frame: &[u8]) -> bool {
    frame.len() > 5
}

/// Writes the length. False if the frame is too long.
pub fn finish(frame: &mut [u8]) -> bool {
    let length = frame.len() - 4;
    frame[..4].copy_from_slice(&(length as u32).to_be_bytes());
    length <= LENGTH_MAX
}

/// The next frame; `buffer` is scratch space. Not cancel-safe: a cancelled read loses the framing.
pub async fn read(from: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Result<Frame, FrameError> {
    let [length @ .., kind] = head::<5>(from).await?.ok_or(FrameError::Closed)?;
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > LENGTH_MAX {
        return Err(FrameError::Length(length));
    }
    buffer.resize(length - 1, 0);
    from.read_exact(buffer).await?;
    Frame::decode(kind, buffer)
}
