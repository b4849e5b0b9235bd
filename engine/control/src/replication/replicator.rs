//! One engine's part. See [`super`].

mod changes;
mod link;

use super::revision::{By, Digest, Hash, Head, Revision, Version};
use super::word::{Word, cut};
use dataplane::id::Nanos;
use link::Link;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How long the engines wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// For the other one's word on a change, before it is given up.
    pub answer: Nanos,
    /// For the word to take what was said to be takeable.
    pub promise: Nanos,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing { answer: Nanos::from_millis(2_000), promise: Nanos::from_millis(10_000) }
    }
}

/// What is fed in. Answers of the shell carry the ticket of their question.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// The other engine is connected; `speaks`: it shares its configuration.
    Linked { speaks: bool },
    /// It is not connected any more.
    Unlinked,
    /// It says.
    Word(Word),
    /// Whether a version fits this engine's own file, or why not.
    Checked { ticket: u64, result: Result<(), Vec<String>> },
    /// Whether a version is on the disk, or why not.
    Kept { ticket: u64, result: Result<(), String> },
    /// A person asks; answered by [`Output::Answer`] with the same `id`.
    Ask { id: u64, request: Request },
}

/// What a person may ask.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Let `text` follow generation `base`. `alone`: without asking the other engine first.
    Apply { base: u64, text: Arc<str>, by: By, alone: bool },
    /// Let one of two that were made apart follow both.
    Resolve { take: Side, by: By },
}

/// Whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This engine's.
    Mine,
    /// The other one's.
    Theirs,
}

/// What is asked for, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Check a version against this engine's own file: [`Input::Checked`].
    Check { ticket: u64, version: Version },
    /// Put a version on the disk: [`Input::Kept`].
    Keep { ticket: u64, version: Version },
    /// It is kept: run it.
    Apply { version: Version },
    /// Tell the other engine.
    Send(Word),
    /// Tell the person.
    Answer { id: u64, result: Result<Done, String> },
    /// Write into the log.
    Say(Notice),
}

/// What a person's change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What is in force now.
    pub generation: u64,
    /// Nothing was to be changed.
    pub same: bool,
    /// What became of the other engine.
    pub other: PeerOutcome,
}

/// The other engine's part of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerOutcome {
    /// There is none.
    NoPeer,
    /// It has it too.
    Has,
    /// It is away, and gets it when it comes back.
    Away,
    /// The person did not want it to be asked; it is told now.
    NotAsked,
    /// It could take it, but has not said that it did.
    Unheard,
    /// It could not keep it after all.
    Failed(Vec<String>),
}

/// What a person should learn of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The other engine has the same.
    InSync(Revision),
    /// Both were changed while they were apart.
    Conflict { mine: Revision, theirs: Revision },
    /// One engine cannot take what the other has. `here`: this one.
    Declined { revision: Revision, here: bool, reasons: Vec<String> },
    /// What the other engine sent is no version, or none that it may send.
    Malformed(String),
}

/// How this engine's configuration stands to the other one's, as far as is known here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Relation {
    /// It has no other engine.
    NoPeer,
    /// It is not connected.
    Away,
    /// It is connected, and shares no configuration.
    Unable,
    /// It has not said yet what it has.
    Comparing,
    /// It has the same.
    InSync,
    /// It is to take this engine's, which it may have declined.
    Ahead { declined: Vec<String> },
    /// This engine is to take the other's, which it may have declined.
    Behind { declined: Vec<String> },
    /// Both were changed while they were apart.
    Conflict,
}

/// What could not be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declined {
    /// Which.
    pub id: Digest,
    /// Why.
    pub reasons: Vec<String>,
}

/// What is under way.
#[derive(Clone, Debug, PartialEq)]
enum Work {
    Idle,
    /// It is being compared with this engine's own file.
    Checking {
        version: Version,
        origin: Origin,
    },
    /// The other engine is asked whether it could take it.
    Asking {
        version: Version,
        asker: Option<u64>,
        until: Nanos,
    },
    /// The other engine was told that it could be taken here.
    Promised {
        version: Version,
        until: Nanos,
    },
    /// It is being written.
    Keeping {
        version: Version,
        keeper: Keeper,
    },
}

/// Where what is being checked came from.
#[derive(Clone, Debug, PartialEq)]
enum Origin {
    /// A person asked here; the other engine is to take it in place of `since`, if it is to be asked.
    Person { asker: u64, since: Option<Digest>, alone: bool },
    /// The other engine asks whether it could be taken.
    Prepare,
    /// The other engine has it, and it follows what is here.
    Offer,
}

/// For whom it is written.
#[derive(Clone, Debug, PartialEq)]
enum Keeper {
    /// It was made here; `asked`: the other engine could take it.
    Mine { asker: Option<u64>, asked: bool, alone: bool },
    /// The other engine has it.
    Theirs,
}

/// A change that is kept here, while the other engine has not said that it has it too.
#[derive(Clone, Debug, PartialEq)]
struct Confirming {
    asker: u64,
    id: Digest,
    generation: u64,
    until: Nanos,
}

/// One engine's part in the replication.
#[derive(Clone, Debug)]
pub struct Replicator {
    engine: String,
    peer: Option<String>,
    hash: Hash,
    timing: Timing,
    now: Nanos,
    /// What is kept and applied here.
    version: Version,
    /// Generations up to here were seen on this disk, whatever became of them.
    floor: u64,
    work: Work,
    ticket: u64,
    confirming: Option<Confirming>,
    link: Option<Link>,
    malformed: u64,
}

impl Replicator {
    /// An engine that has `version`. `peer` is the other one of its site; generations up to `floor` were given out before.
    pub fn new(engine: &str, peer: Option<&str>, version: Version, floor: u64, hash: Hash) -> Replicator {
        Replicator {
            engine: engine.to_owned(),
            peer: peer.map(str::to_owned),
            hash,
            timing: Timing::default(),
            now: Nanos(0),
            version,
            floor,
            work: Work::Idle,
            ticket: 0,
            confirming: None,
            link: None,
            malformed: 0,
        }
    }

    /// What is in force here.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The other engine's name.
    pub fn peer(&self) -> Option<&str> {
        self.peer.as_deref()
    }

    /// Whether a change is under way.
    pub fn is_busy(&self) -> bool {
        self.work != Work::Idle
    }

    /// What the other engine sent and should not have.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// What the other engine has, as far as it has said.
    pub fn theirs(&self) -> Option<&Head> {
        self.link.as_ref()?.theirs.as_ref()
    }

    /// Its text, once it has shown it: in a conflict.
    pub fn their_text(&self) -> Option<&Arc<str>> {
        self.link.as_ref()?.their_text.as_ref()
    }

    /// How this engine's configuration stands to the other one's.
    pub fn relation(&self) -> Relation {
        let head = &self.version.head;
        let Some(link) = &self.link else {
            return if self.peer.is_some() { Relation::Away } else { Relation::NoPeer };
        };
        if !link.speaks {
            return Relation::Unable;
        }
        let Some(theirs) = &link.theirs else { return Relation::Comparing };
        let declined = |id: Digest| {
            let this = link.declined.as_ref().filter(|declined| declined.id == id);
            this.map(|declined| declined.reasons.clone()).unwrap_or_default()
        };
        if theirs.revision.id == head.revision.id {
            Relation::InSync
        } else if head.follows(theirs.revision.id) {
            Relation::Ahead { declined: declined(head.revision.id) }
        } else if theirs.follows(head.revision.id) {
            Relation::Behind { declined: declined(theirs.revision.id) }
        } else {
            Relation::Conflict
        }
    }

    /// Takes one input at `now` and appends what is to be done, in order.
    pub fn step(&mut self, now: Nanos, input: Input, out: &mut Vec<Output>) {
        self.now = now.max(self.now);
        match input {
            Input::Tick => self.expire(out),
            Input::Linked { speaks } => self.linked(speaks, out),
            Input::Unlinked => self.unlinked(out),
            Input::Word(word) => self.word(word, out),
            Input::Checked { ticket, result } if ticket == self.ticket => self.checked(result, out),
            Input::Kept { ticket, result } if ticket == self.ticket => self.kept(result, out),
            // Of something that was given up meanwhile.
            Input::Checked { .. } | Input::Kept { .. } => {}
            Input::Ask { id, request } => {
                if let Err(why) = self.ask(id, request, out) {
                    out.push(Output::Answer { id, result: Err(why) });
                }
            }
        }
        self.join(out);
    }

    fn check(&mut self, version: Version, origin: Origin, out: &mut Vec<Output>) {
        self.ticket += 1;
        out.push(Output::Check { ticket: self.ticket, version: version.clone() });
        self.work = Work::Checking { version, origin };
    }

    fn keep(&mut self, version: Version, keeper: Keeper, out: &mut Vec<Output>) {
        self.ticket += 1;
        out.push(Output::Keep { ticket: self.ticket, version: version.clone() });
        self.work = Work::Keeping { version, keeper };
    }

    fn expire(&mut self, out: &mut Vec<Output>) {
        let now = self.now;
        match &self.work {
            Work::Asking { until, version, .. } if now >= *until => {
                let id = version.head.revision.id;
                let who = self.other();
                let ms = self.timing.answer.as_millis();
                self.abandon(&format!("{who} did not answer within {ms} ms: nothing was changed"), out);
                if let Some(link) = &mut self.link {
                    link.joining = None;
                }
                out.push(Output::Send(Word::Abort { id }));
            }
            Work::Promised { until, .. } if now >= *until => self.work = Work::Idle,
            _ => {}
        }
        if self.confirming.as_ref().is_some_and(|confirming| now >= confirming.until) {
            self.confirm(PeerOutcome::Unheard, out);
        }
    }

    /// The other engine's name, for a sentence.
    fn other(&self) -> String {
        self.peer.clone().unwrap_or_else(|| "the other engine".to_owned())
    }

    /// Gives up a change that was made here and is not kept yet.
    fn abandon(&mut self, why: &str, out: &mut Vec<Output>) {
        let asker = match std::mem::replace(&mut self.work, Work::Idle) {
            Work::Checking { origin: Origin::Person { asker, .. }, .. } => Some(asker),
            Work::Asking { asker, .. } => asker,
            _ => None,
        };
        if let Some(id) = asker {
            out.push(Output::Answer { id, result: Err(why.to_owned()) });
        }
    }

    /// Tells who asked for the change that is kept here what the other engine did with it.
    fn confirm(&mut self, other: PeerOutcome, out: &mut Vec<Output>) {
        if let Some(Confirming { asker, generation, .. }) = self.confirming.take() {
            out.push(Output::Answer { id: asker, result: Ok(Done { generation, same: false, other }) });
        }
    }

    fn decline(&mut self, revision: Revision, here: bool, reasons: &[String], out: &mut Vec<Output>) {
        let (id, reasons) = (revision.id, cut(reasons));
        if let Some(link) = &mut self.link {
            link.declined = Some(Declined { id, reasons: reasons.clone() });
        }
        out.push(Output::Say(Notice::Declined { revision, here, reasons }));
    }
}
