//! The Unix socket of the commands: one JSON line asks, one JSON line answers, any number a connection.
//! Who may open the file may ask: its mode is 0600.

use super::{Answer, ApiHandle, ApiRequest, Request};
use crate::observe::ObserveRequest;
use crate::observe::stream::Observation;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};

/// Longest request line, bytes.
const LINE_MAX: u64 = 16 * 1024;
/// Connections served at once; more wait.
const CONNECTIONS_MAX: usize = 32;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A live engine has it.
    #[error("another engine answers on {0}; give each engine its own api.socket, or stop the other one")]
    InUse(PathBuf),
    /// A file that is no socket.
    #[error("{0} exists and is not a socket; remove it, or change api.socket")]
    NotASocket(PathBuf),
    /// The system said no.
    #[error("the API socket {path} cannot be made: {error}; check api.socket and the rights on its folder")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// A bound socket; its file goes when this does.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Makes the socket, in place of one that a dead engine left. Call inside a Tokio runtime.
    pub fn bind(path: &Path) -> Result<Server, BindError> {
        Ok(Server { listener: private_listener(path)?, path: path.to_owned() })
    }

    /// Serves until dropped.
    pub async fn serve(self, api: ApiHandle) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let api = api.clone();
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, &api).await {
                            tracing::debug!(%error, "an API connection ended");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "an API connection was not accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A socket that only its owner may open, in place of one that a dead engine left. Call inside a Tokio runtime.
///
/// # Errors
/// If somebody answers there, or it cannot be made.
pub fn private_listener(path: &Path) -> Result<UnixListener, BindError> {
    let io = |error| BindError::Io { path: path.to_owned(), error };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(BindError::InUse(path.to_owned()));
        }
        Ok(_) => std::fs::remove_file(path).map_err(io)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    let listener = UnixListener::bind(path).map_err(io)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
    Ok(listener)
}

async fn converse(stream: UnixStream, api: &ApiHandle) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut read).take(LINE_MAX).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == LINE_MAX {
            return send(&mut write, &Answer::Error(format!("a request line is at most {LINE_MAX} bytes")))
                .await;
        }
        let answer = match serde_json::from_slice::<Request>(&line) {
            Ok(Request::Observe(request)) => match begin(api, request).await {
                Ok(observation) => {
                    send(&mut write, &Answer::Ok(serde_json::Value::Null)).await?;
                    let stream = read.into_inner().reunite(write).map_err(io::Error::other)?;
                    return show(observation, stream.into_std()?).await;
                }
                Err(why) => Answer::Error(why),
            },
            Ok(request) => api.answer(request).await,
            Err(error) => Answer::Error(format!("not a request: {error}")),
        };
        send(&mut write, &answer).await?;
    }
}

async fn begin(api: &ApiHandle, request: ObserveRequest) -> Result<Observation, String> {
    let begun = api.ask(|reply| ApiRequest::Observe { request, reply }).await;
    begun.unwrap_or_else(|stopping| Err(stopping.to_string()))
}

/// Shows packets on a thread of its own until that ends. The thread is not joined: a stopping engine waits for nobody
/// who watches.
async fn show(observation: Observation, stream: std::os::unix::net::UnixStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let (done, ended) = oneshot::channel();
    std::thread::Builder::new().name("observe".to_owned()).spawn(move || {
        // Whoever waited may have been aborted.
        let _ = done.send(observation.show(stream));
    })?;
    ended.await.unwrap_or(Ok(()))
}

async fn send(write: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}
