//! The asking side, for the commands.

use super::{Answer, Request};
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An engine answers within a tick; this is for one that hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no engine answers on {0}: is it running? Name its socket with -s, or its configuration with -c")]
    NotRunning(PathBuf),
    /// The socket is another user's.
    #[error("{0} may not be opened: run this as the user of the engine")]
    Denied(PathBuf),
    /// Connected, and then silence or an end.
    #[error("the engine on {path} does not answer: {error}")]
    Silent {
        /// Its socket.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
    /// It said no.
    #[error("{0}")]
    Refused(String),
    /// It is of another version.
    #[error("the engine's answer is not understood: {0}; do the command and the engine have one version?")]
    Answer(#[from] serde_json::Error),
}

/// Asks the engine on `socket` one question.
pub fn ask<T: DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, ClientError> {
    ask_within(socket, request, PATIENCE)
}

/// The same, for what may take the engine so long.
pub fn ask_within<T: DeserializeOwned>(
    socket: &Path,
    request: &Request,
    patience: Duration,
) -> Result<T, ClientError> {
    let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Denied(socket.to_owned()),
        _ => ClientError::NotRunning(socket.to_owned()),
    })?;
    let line = serde_json::to_string(request)?;
    let answer = converse(stream, &line, patience)
        .map_err(|error| ClientError::Silent { path: socket.to_owned(), error })?;
    match serde_json::from_str(&answer)? {
        Answer::Ok(value) => Ok(serde_json::from_value(value)?),
        Answer::Error(why) => Err(ClientError::Refused(why)),
    }
}

fn converse(mut stream: UnixStream, line: &str, patience: Duration) -> io::Result<String> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    if BufReader::new(stream).read_line(&mut answer)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
    }
    Ok(answer)
}
