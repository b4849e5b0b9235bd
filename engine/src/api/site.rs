//! The site's configuration, asked about and changed. Files are read here, off the control loop.

use super::{Answer, ApiHandle, ApiRequest, Stopping, json};
use crate::site::{Kept, Stamp};
use control::replication::{By, DOCUMENT_MAX, Done, Head, PeerOutcome, Relation, Request, Side};
use serde::{Deserialize, Serialize};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;

/// On the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "site", rename_all = "snake_case")]
pub enum SiteRequest {
    /// What is in force, and how it stands with the other engine.
    Show,
    /// Lets a file follow the generation it was made from.
    Apply {
        /// The engine reads it: an absolute path.
        path: PathBuf,
        /// That generation, if the file's first lines do not say.
        from: Option<u64>,
        /// Without asking the other engine first.
        alone: bool,
        /// Who asks, and why.
        #[serde(flatten)]
        who: Who,
    },
    /// Lets the text of an earlier generation follow the one in force.
    Rollback {
        /// Which.
        generation: u64,
        /// Who asks, and why.
        #[serde(flatten)]
        who: Who,
    },
    /// Says which of two that were made apart is to follow both: this engine's, or else the other one's.
    Resolve {
        /// This engine's.
        mine: bool,
        /// Who asks, and why.
        #[serde(flatten)]
        who: Who,
    },
    /// The generations that are kept, newest first.
    History,
    /// The text of one.
    Text {
        /// Which.
        generation: u64,
    },
}

/// Who asks for a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Who {
    /// The person.
    pub author: String,
    /// Why; may be empty.
    pub note: String,
}

impl Who {
    fn now(self) -> By {
        By { author: self.author, at_ms: crate::runtime::unix_ms(), note: self.note }
    }
}

/// One question to the runtime.
#[derive(Debug)]
pub enum SiteAsk {
    /// Everything.
    Status(oneshot::Sender<Result<Box<SiteStatus>, String>>),
    /// A change; the answer says what came of it.
    Change(Request, oneshot::Sender<Result<Done, String>>),
    /// The folder of generations.
    Kept(oneshot::Sender<Result<Arc<Kept>, String>>),
}

impl SiteAsk {
    /// Says why it is not answered.
    pub fn refuse(self, why: &str) {
        match self {
            SiteAsk::Status(reply) => drop(reply.send(Err(why.to_owned()))),
            SiteAsk::Change(_, reply) => drop(reply.send(Err(why.to_owned()))),
            SiteAsk::Kept(reply) => drop(reply.send(Err(why.to_owned()))),
        }
    }
}

/// The site's configuration at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// What is in force here; 0 while nothing was ever shared.
    pub generation: u64,
    /// How that stands with the other engine.
    pub relation: Relation,
    /// A change is under way.
    pub busy: bool,
    /// What the other engine sent and should not have, since the start.
    pub malformed: u64,
    /// What was damaged on the disk at the start.
    pub alarm: Option<String>,
}

/// The same with the texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteStatus {
    /// At a glance.
    #[serde(flatten)]
    pub status: ConfigStatus,
    /// What is in force.
    pub head: Head,
    /// Its text; while nothing was ever shared, what of the engine's file could be.
    pub text: String,
    /// The other engine.
    pub peer: Option<String>,
    /// What that has, as far as it has said.
    pub theirs: Option<Head>,
    /// Its text, in a conflict.
    pub their_text: Option<String>,
}

type Told<T> = Result<Result<T, String>, Stopping>;

impl ApiHandle {
    /// Answers a question about the site's configuration.
    pub(super) async fn site(&self, request: SiteRequest) -> Answer {
        let done = match request {
            SiteRequest::Show => self.asked(SiteAsk::Status).await.map(|status| status.map(json)),
            SiteRequest::Apply { path, from, alone, who } => self.apply(path, from, alone, who).await,
            SiteRequest::Rollback { generation, who } => self.roll_back(generation, who).await,
            SiteRequest::Resolve { mine, who } => {
                let take = if mine { Side::Mine } else { Side::Theirs };
                self.change(Request::Resolve { take, by: who.now() }).await
            }
            SiteRequest::History => self.read_kept(|kept| kept.history().map(json)).await,
            SiteRequest::Text { generation } => {
                self.read_kept(move |kept| Ok(json(kept.read(generation)?.text.to_string()))).await
            }
        };
        match done {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => Answer::Error(why),
            Err(stopping) => Answer::Error(stopping.to_string()),
        }
    }

    async fn asked<T>(&self, ask: impl FnOnce(oneshot::Sender<Result<T, String>>) -> SiteAsk) -> Told<T> {
        self.ask(|reply| ApiRequest::Site(ask(reply))).await
    }

    async fn change(&self, request: Request) -> Told<Answer> {
        let done = self.asked(|reply| SiteAsk::Change(request, reply)).await?;
        Ok(done.map(|done| json(outcome(&done))))
    }

    async fn apply(&self, path: PathBuf, from: Option<u64>, alone: bool, who: Who) -> Told<Answer> {
        let read = tokio::task::spawn_blocking(move || read_text(&path)).await;
        let text = match read {
            Ok(Ok(text)) => text,
            Ok(Err(why)) => return Ok(Err(why)),
            Err(error) => return Ok(Err(format!("the file was not read: {error}"))),
        };
        let stamp = Stamp::read(&text);
        let Some(base) = from.or(stamp.generation) else {
            let why = "which generation was it made from? Its first line would say (`config show` writes one), or --from";
            return Ok(Err(why.to_owned()));
        };
        self.change(Request::Apply { base, text: stamp.text.into(), by: who.now(), alone }).await
    }

    async fn roll_back(&self, generation: u64, who: Who) -> Told<Answer> {
        let text = match generation {
            // What each engine's file says.
            0 => Ok(String::new()),
            _ => self.read_kept(move |kept| Ok(kept.read(generation)?.text.to_string())).await?,
        };
        let text = match text {
            Ok(text) => text,
            Err(why) => return Ok(Err(why)),
        };
        let base = match self.asked(SiteAsk::Status).await? {
            Ok(status) => status.status.generation,
            Err(why) => return Ok(Err(why)),
        };
        let mut by = who.now();
        by.note =
            format!("rollback to {generation}{}{}", if by.note.is_empty() { "" } else { ": " }, by.note);
        self.change(Request::Apply { base, text: text.into(), by, alone: false }).await
    }

    async fn read_kept<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Kept) -> anyhow::Result<T> + Send + 'static,
    ) -> Told<T> {
        let kept = match self.asked(SiteAsk::Kept).await? {
            Ok(kept) => kept,
            Err(why) => return Ok(Err(why)),
        };
        let read = tokio::task::spawn_blocking(move || read(&kept)).await;
        Ok(match read {
            Ok(read) => read.map_err(|error| format!("{error:#}")),
            Err(error) => Err(format!("not read: {error}")),
        })
    }
}

/// At most as much as is taken, and a little more, so that it is known to be too much.
fn read_text(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(2 * DOCUMENT_MAX as u64).read_to_string(&mut text).map_err(cannot)?;
    Ok(text)
}

/// What a change came to, in words.
fn outcome(done: &Done) -> String {
    let what = if done.same { "was in force already" } else { "is in force" };
    let other = match &done.other {
        PeerOutcome::NoPeer => "there is no other engine".to_owned(),
        PeerOutcome::Has => "at both engines".to_owned(),
        PeerOutcome::Away => "here; the other engine is away and gets it when it comes back".to_owned(),
        PeerOutcome::NotAsked => "here; the other engine was not asked and is told now".to_owned(),
        PeerOutcome::Unheard => {
            "here; the other engine could take it and has not said yet that it did".to_owned()
        }
        PeerOutcome::Failed(why) => format!("here; the other engine has not taken it: {}", why.join("; ")),
    };
    format!("generation {} {what}: {other}", done.generation)
}
