//! The door: processes that want to follow are heard, and let wait until they are ready.

use super::line;
use crate::api::server::private_listener;
use crate::plan::Plan;
use anyhow::{Context as _, Result, bail};
use control::handover::{Candidate, Ports, Word};
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The longest word.
const WORD_MAX: usize = 64 * 1024;
/// For the first word.
const GREETING: Duration = Duration::from_secs(5);
/// For a process that was let in to get ready: EAL, tables, a million routes.
const PREPARATION: Duration = Duration::from_secs(300);

/// A process that is ready to follow this one.
pub struct Successor {
    /// What leads to it.
    pub line: StdStream,
    /// Whether it has its ports.
    pub ports: Ports,
}

/// Those who listen for processes that want to follow; dropped, nobody does any more.
pub struct Successors {
    task: JoinHandle<()>,
    path: PathBuf,
}

impl Drop for Successors {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Successors {
    /// Listens. `refuse` says why nobody may follow, if it is so. Who is ready comes to the other end of the channel.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn listen(
        plan: &Plan,
        refuse: Option<&'static str>,
    ) -> Result<(Successors, mpsc::Receiver<Successor>)> {
        let path = super::socket(plan);
        let listener = private_listener(&path)?;
        let (found, successors) = mpsc::channel(1);
        let us = super::candidate(plan);
        let tunnels = plan.tunnels.iter().map(|tunnel| tunnel.name.clone()).collect();
        let welcome = Word::Welcome { interfaces: plan.interface_names.clone(), tunnels };
        let task = tokio::spawn(accept(listener, us, refuse.map_or(Ok(welcome), Err), found));
        Ok((Successors { task, path }, successors))
    }
}

/// What is said to those who may come in, or why nobody may.
type LetIn = std::result::Result<Word, &'static str>;

async fn accept(listener: UnixListener, us: Candidate, let_in: LetIn, found: mpsc::Sender<Successor>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        match welcome(&mut stream, &us, &let_in).await {
            Ok(ports) => {
                let ready = stream.into_std().and_then(|line| line.set_nonblocking(false).map(|()| line));
                let Ok(line) = ready else { continue };
                if found.send(Successor { line, ports }).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::info!("a process that wanted to follow this one does not: {error:#}"),
        }
    }
}

/// Hears who it is, and waits until it is ready. One at a time: others wait to be heard.
async fn welcome(stream: &mut UnixStream, us: &Candidate, let_in: &LetIn) -> Result<Ports> {
    let greeting = timeout(GREETING, read_word(stream)).await.context("it says nothing")??;
    let Word::Hello(them) = greeting else { bail!("it does not say who it is") };
    let may = us.may_be_followed_by(&them);
    match may.and(let_in.as_ref().map_err(|reason| (*reason).to_owned())) {
        Err(reason) => {
            stream.write_all(&line::word(&Word::Refused { reason: reason.clone() })?).await?;
            bail!("refused: {reason}");
        }
        Ok(welcome) => stream.write_all(&line::word(welcome)?).await?,
    }
    tracing::info!("a process gets ready to follow this one");
    match timeout(PREPARATION, read_word(stream)).await.context("it does not get ready")?? {
        Word::Ready => Ok(them.ports),
        other => bail!("{other:?} in place of Ready"),
    }
}

async fn read_word(stream: &mut UnixStream) -> Result<Word> {
    let length = stream.read_u32().await.context("it is gone")? as usize;
    anyhow::ensure!(length <= WORD_MAX, "a word of {length} octets");
    let mut octets = vec![0; length];
    stream.read_exact(&mut octets).await.context("it is gone")?;
    match line::decode(&octets)? {
        line::Frame::Word(word) => Ok(word),
        _ => bail!("no word"),
    }
}
