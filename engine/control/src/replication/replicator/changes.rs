//! A change's way: asked for, checked here, checked there, kept, applied.

use super::{
    Confirming, Done, Keeper, Origin, Output, PeerOutcome, Relation, Replicator, Request, Side, Work,
};
use crate::replication::revision::{By, DOCUMENT_MAX, Head, Version};
use crate::replication::word::Word;
use std::sync::Arc;

impl Replicator {
    /// `Err` is the answer; otherwise it comes later, or has been given.
    pub(super) fn ask(&mut self, id: u64, request: Request, out: &mut Vec<Output>) -> Result<(), String> {
        if self.is_busy() || self.confirming.is_some() {
            return Err("another change is under way: try again in a moment".into());
        }
        match request {
            Request::Apply { base, text, by, alone } => self.apply(id, base, (text, by), alone, out),
            Request::Resolve { take, by } => self.resolve(id, take, by, out),
        }
    }

    fn apply(
        &mut self,
        asker: u64,
        base: u64,
        (text, by): (Arc<str>, By),
        alone: bool,
        out: &mut Vec<Output>,
    ) -> Result<(), String> {
        let head = &self.version.head;
        let generation = head.revision.generation;
        if text.len() > DOCUMENT_MAX {
            return Err(format!("it has {} octets, and at most {DOCUMENT_MAX} are taken", text.len()));
        }
        if base != generation {
            return Err(format!(
                "it was made from generation {base}, and {generation} is in force{}: make it again from that one",
                made(head)
            ));
        }
        let since = self.asks(alone)?;
        if *text == *self.version.text && !head.is_root() {
            let other = self.outcome(alone);
            out.push(Output::Answer { id: asker, result: Ok(Done { generation, same: true, other }) });
            return Ok(());
        }
        let version = self.version.next(None, text, (&self.engine, by), self.floor, self.hash);
        let version = version.ok_or("the generations are used up")?;
        let since = since.map(|theirs| theirs.revision.id);
        self.check(version, Origin::Person { asker, since, alone }, out);
        Ok(())
    }

    /// What the other engine has, if it is to be asked about a change; an error if none may be made now.
    fn asks(&self, alone: bool) -> Result<Option<Head>, String> {
        let who = self.other();
        match self.relation() {
            Relation::NoPeer | Relation::Away => Ok(None),
            Relation::InSync | Relation::Ahead { .. } | Relation::Unable if alone => Ok(None),
            Relation::InSync | Relation::Ahead { .. } => Ok(self.theirs().cloned()),
            Relation::Unable => Err(format!(
                "{who} is connected and shares no configuration: write [site] in its file too, or change this engine --alone"
            )),
            Relation::Comparing => Err(format!("{who} has not said yet what it has: try again in a moment")),
            Relation::Behind { declined } => {
                let why = declined.first().map_or("it is on its way".to_owned(), String::clone);
                let generation = self.theirs().map_or(0, |theirs| theirs.revision.generation);
                Err(format!("{who} has generation {generation}, which this engine has not taken: {why}"))
            }
            Relation::Conflict => Err(format!(
                "this engine and {who} were changed while they were apart: `config resolve` comes first"
            )),
        }
    }

    fn resolve(&mut self, asker: u64, take: Side, by: By, out: &mut Vec<Output>) -> Result<(), String> {
        let who = self.other();
        if self.relation() != Relation::Conflict {
            return Err(format!("there is no conflict with {who} to be resolved"));
        }
        let unheard = || format!("{who} has not shown its configuration yet: try again in a moment");
        let theirs = self.theirs().cloned().ok_or_else(unheard)?;
        let text = match take {
            Side::Mine => self.version.text.clone(),
            Side::Theirs => self.their_text().cloned().ok_or_else(unheard)?,
        };
        let version = self.version.next(Some(&theirs), text, (&self.engine, by), self.floor, self.hash);
        let version = version.ok_or("the generations are used up")?;
        let since = Some(theirs.revision.id);
        self.check(version, Origin::Person { asker, since, alone: false }, out);
        Ok(())
    }

    /// Two that were made apart and say the same: one engine joins them, without asking anybody.
    pub(super) fn join(&mut self, out: &mut Vec<Output>) {
        let (first, mine) =
            (self.peer.as_ref().is_some_and(|peer| self.engine < *peer), &self.version.head.revision);
        let same = |theirs: &Head| theirs.revision.content == mine.content && theirs.revision.id != mine.id;
        let theirs = self.theirs().filter(|theirs| first && !self.is_busy() && same(theirs));
        let Some(theirs) = theirs.cloned() else { return };
        let pair = Some((theirs.revision.id, mine.id));
        if self.relation() != Relation::Conflict || self.link.as_ref().is_none_or(|link| link.joining == pair)
        {
            return;
        }
        if let Some(link) = &mut self.link {
            link.joining = pair;
        }
        let at_ms = theirs.revision.at_ms.max(self.version.head.revision.at_ms);
        let by = By { author: "nobody".into(), at_ms, note: "both engines have the same text".into() };
        let (text, who) = (self.version.text.clone(), self.engine.clone());
        let version = self.version.next(Some(&theirs), text, (&who, by), self.floor, self.hash);
        if let Some(version) = version {
            self.prepare(version, None, &theirs, out);
        }
    }

    /// Asks the other engine whether it could take it in place of what it has.
    fn prepare(&mut self, version: Version, asker: Option<u64>, theirs: &Head, out: &mut Vec<Output>) {
        out.extend(Word::pieces(&version.text).map(Output::Send));
        let (since, head) = (theirs.revision.id, Box::new(version.head.clone()));
        out.push(Output::Send(Word::Prepare { since, head }));
        self.work = Work::Asking { version, asker, until: self.now.plus(self.timing.answer) };
    }

    pub(super) fn checked(&mut self, result: Result<(), Vec<String>>, out: &mut Vec<Output>) {
        let Work::Checking { version, origin } = std::mem::replace(&mut self.work, Work::Idle) else {
            return;
        };
        let revision = version.head.revision.clone();
        match (origin, result) {
            (Origin::Person { asker, .. }, Err(reasons)) => {
                let why =
                    format!("refused by {}: nothing was changed\n  {}", self.engine, reasons.join("\n  "));
                out.push(Output::Answer { id: asker, result: Err(why) });
            }
            (Origin::Person { asker, since, alone }, Ok(())) => {
                let theirs = self.theirs().cloned();
                let as_before = theirs.as_ref().map(|theirs| theirs.revision.id) == since;
                match theirs.filter(|_| since.is_some()) {
                    _ if !as_before && !alone => {
                        let why = format!(
                            "{} came or went meanwhile: nothing was changed; try again",
                            self.other()
                        );
                        out.push(Output::Answer { id: asker, result: Err(why) });
                    }
                    Some(theirs) => self.prepare(version, Some(asker), &theirs, out),
                    None => self.keep(version, Keeper::Mine { asker: Some(asker), asked: false, alone }, out),
                }
            }
            (Origin::Prepare, Ok(())) => {
                out.push(Output::Send(Word::Ready { id: revision.id }));
                self.work = Work::Promised { version, until: self.now.plus(self.timing.promise) };
            }
            (Origin::Offer, Ok(())) => self.keep(version, Keeper::Theirs, out),
            (Origin::Prepare, Err(reasons)) => {
                out.push(Output::Send(Word::refuse(revision.id, &reasons)));
            }
            (Origin::Offer, Err(reasons)) => {
                out.push(Output::Send(Word::refuse(revision.id, &reasons)));
                self.decline(revision, true, &reasons, out);
            }
        }
    }

    pub(super) fn kept(&mut self, result: Result<(), String>, out: &mut Vec<Output>) {
        let Work::Keeping { version, keeper } = std::mem::replace(&mut self.work, Work::Idle) else { return };
        let revision = version.head.revision.clone();
        if let Err(error) = result {
            self.not_kept(&version, keeper, &error, out);
            return;
        }
        self.version = version.clone();
        self.floor = self.floor.max(revision.generation);
        out.push(Output::Apply { version });
        match keeper {
            Keeper::Mine { asker, asked: true, .. } if self.link.is_some() => {
                out.push(Output::Send(Word::Commit { id: revision.id }));
                if let Some(link) = &mut self.link {
                    link.told(&self.version.head);
                }
                let (id, generation) = (revision.id, revision.generation);
                let until = self.now.plus(self.timing.answer);
                self.confirming = asker.map(|asker| Confirming { asker, id, generation, until });
            }
            Keeper::Mine { asker, asked, alone } => {
                let other = if asked { PeerOutcome::Unheard } else { self.outcome(alone) };
                if let Some(id) = asker {
                    let done = Done { generation: revision.generation, same: false, other };
                    out.push(Output::Answer { id, result: Ok(done) });
                }
                self.say_head(out);
            }
            Keeper::Theirs => self.say_head(out),
        }
        self.judge(out);
    }

    fn not_kept(&mut self, version: &Version, keeper: Keeper, error: &str, out: &mut Vec<Output>) {
        let revision = version.head.revision.clone();
        let id = revision.id;
        match keeper {
            Keeper::Mine { asker, asked, .. } => {
                if asked {
                    out.push(Output::Send(Word::Abort { id }));
                }
                if let Some(asker) = asker {
                    let why = format!("it could not be written: {error}; nothing was changed");
                    out.push(Output::Answer { id: asker, result: Err(why) });
                }
            }
            Keeper::Theirs => {
                let reasons = [format!("it could not be written: {error}")];
                out.push(Output::Send(Word::refuse(id, &reasons)));
                self.decline(revision, true, &reasons, out);
            }
        }
        // What the other engine said meanwhile was not looked at; a refusal stays one until something changes.
        if !matches!(self.relation(), Relation::Behind { declined } if !declined.is_empty()) {
            self.say_head(out);
        }
    }

    /// The other engine's part in what was done without it.
    fn outcome(&self, alone: bool) -> PeerOutcome {
        match self.relation() {
            Relation::NoPeer => PeerOutcome::NoPeer,
            Relation::InSync => PeerOutcome::Has,
            Relation::Ahead { declined } if !declined.is_empty() => PeerOutcome::Failed(declined),
            _ if alone => PeerOutcome::NotAsked,
            _ => PeerOutcome::Away,
        }
    }
}

/// By whom and where, for a sentence.
fn made(head: &Head) -> String {
    if head.is_root() {
        return String::new();
    }
    format!(", made by {} at {}", head.revision.author, head.revision.engine)
}
