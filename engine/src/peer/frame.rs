//! Framing: a 32-bit length in network order, then that many octets of JSON. A frame without octets
//! is the acceptor's "you are who you say": the first thing on a connection, and only there.

use control::message::Message;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest message, octets.
pub const LENGTH_MAX: usize = 64 * 1024;
/// What the accepting engine sends first.
pub const ACCEPTED: [u8; 4] = [0; 4];

/// Why nothing more can be read from a connection.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the peer closed the connection")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("malformed frame: length {0}")]
    Length(usize),
    #[error("malformed frame: {0}")]
    Json(#[from] serde_json::Error),
}

/// Why a message cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It would exceed [`LENGTH_MAX`].
    #[error("message of {0} octets is longer than {LENGTH_MAX}")]
    TooLong(usize),
    /// JSON has no NaN or infinity: the peer would read null and close the connection.
    #[error("message is not representable: {0}")]
    Unrepresentable(#[from] serde_json::Error),
}

/// The frame of `message`. Read back before it is sent: a message that the peer could not read must
/// fail here, where it is one message, and not there, where it ends the connection.
pub fn encode(message: &Message) -> Result<Vec<u8>, EncodeError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > LENGTH_MAX {
        return Err(EncodeError::TooLong(length));
    }
    serde_json::from_slice::<Message>(&frame[4..])?;
    frame[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(frame)
}

/// The next message; `buffer` is scratch space. Not cancel-safe: a cancelled read loses the framing.
pub async fn read(from: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Result<Message, ReadError> {
    let length = u32::from_be_bytes(head(from).await?.ok_or(ReadError::Closed)?) as usize;
    if length == 0 || length > LENGTH_MAX {
        return Err(ReadError::Length(length));
    }
    buffer.resize(length, 0);
    from.read_exact(buffer).await?;
    Ok(serde_json::from_slice(buffer)?)
}

/// The octets that every frame begins with; `None` if the connection ended before them.
pub async fn head<const N: usize>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<[u8; N]>> {
    let mut head = [0; N];
    match from.read(&mut head[..1]).await {
        Ok(0) => return Ok(None),
        Ok(_) => from.read_exact(&mut head[1..]).await?,
        // Ended without close_notify (RFC 8446 §6.1): a killed process.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(head))
}
