//! What is known of the other engine while it is connected, and what it says.

use super::{Declined, Keeper, Notice, Origin, Output, PeerOutcome, Relation, Replicator, Work};

use crate::replication::revision::{Damage, Digest, Head, Version};
use crate::replication::word::{Pieces, Word, cut};
use std::sync::Arc;

/// One connection to the other engine.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Link {
    /// It shares its configuration.
    pub speaks: bool,
    pub theirs: Option<Head>,
    pub their_text: Option<Arc<str>>,
    pub declined: Option<Declined>,
    pieces: Pieces,
    /// For these two, theirs and ours, it was told what it needs …
    told: Option<(Digest, Digest)>,
    /// … and was asked to join them.
    pub joining: Option<(Digest, Digest)>,
}

impl Link {
    /// It knows, or is being told, that we have this.
    pub fn told(&mut self, head: &Head) {
        self.told = self.theirs.as_ref().map(|theirs| (theirs.revision.id, head.revision.id));
    }
}

impl Replicator {
    pub(super) fn linked(&mut self, speaks: bool, out: &mut Vec<Output>) {
        self.unlinked(out);
        if self.peer.is_none() {
            return;
        }
        self.link = Some(Link {
            speaks,
            theirs: None,
            their_text: None,
            declined: None,
            pieces: Pieces::default(),
            told: None,
            joining: None,
        });
        self.say_head(out);
    }

    pub(super) fn unlinked(&mut self, out: &mut Vec<Output>) {
        self.link = None;
        let lost = format!("{} was lost while it was asked: nothing was changed", self.other());
        match &mut self.work {
            Work::Asking { .. } => self.abandon(&lost, out),
            // What it promised on this connection it has forgotten by the next one.
            Work::Keeping { keeper: Keeper::Mine { asked, .. }, .. } => *asked = false,
            Work::Promised { .. } | Work::Checking { origin: Origin::Prepare | Origin::Offer, .. } => {
                self.work = Work::Idle;
            }
            _ => {}
        }
        self.confirm(PeerOutcome::Unheard, out);
    }

    /// "This is what I have".
    pub(super) fn say_head(&mut self, out: &mut Vec<Output>) {
        if self.link.as_ref().is_some_and(|link| link.speaks) {
            out.push(Output::Send(Word::Head { head: Box::new(self.version.head.clone()) }));
        }
    }

    pub(super) fn word(&mut self, word: Word, out: &mut Vec<Output>) {
        let Some(link) = self.link.as_mut().filter(|link| link.speaks) else { return };
        let text = match &word {
            Word::Piece { text } => return link.pieces.push(text),
            _ => link.pieces.take(),
        };
        match word {
            Word::Head { head } => {
                if link.theirs.as_ref().is_none_or(|known| known.revision.id != head.revision.id) {
                    link.their_text = None;
                }
                link.theirs = Some(*head);
                (link.told, link.joining) = (None, None);
                self.judge(out);
            }
            Word::Prepare { since, head } => self.asked(since, *head, text, out),
            Word::Offer { since, head } => self.offered(since, *head, text, out),
            Word::Show { head } => self.shown(*head, text, out),
            Word::Ready { id } => self.ready(id, out),
            Word::Refuse { id, reasons } => self.refused(id, &reasons, out),
            Word::Commit { id } => self.committed(id, out),
            Word::Abort { id } => match &self.work {
                Work::Promised { version, .. } | Work::Checking { version, origin: Origin::Prepare }
                    if version.head.revision.id == id =>
                {
                    self.work = Work::Idle;
                }
                _ => {}
            },
            Word::Piece { .. } => {}
        }
    }

    /// Compares what both have, and does what follows from it, once for the two.
    pub(super) fn judge(&mut self, out: &mut Vec<Output>) {
        let relation = self.relation();
        let mine = &self.version;
        let Some(link) = &mut self.link else { return };
        let Some(theirs) = &link.theirs else { return };
        let pair = (theirs.revision.id, mine.head.revision.id);
        if link.told == Some(pair) {
            return;
        }
        let head = Box::new(mine.head.clone());
        match relation {
            Relation::InSync => {
                (link.told, link.their_text, link.declined) = (Some(pair), None, None);
                let revision = mine.head.revision.clone();
                if self.confirming.as_ref().is_some_and(|confirming| confirming.id == revision.id) {
                    self.confirm(PeerOutcome::Has, out);
                }
                out.push(Output::Say(Notice::InSync(revision)));
            }
            Relation::Ahead { .. } => {
                link.told = Some(pair);
                out.extend(Word::pieces(&mine.text).map(Output::Send));
                out.push(Output::Send(Word::Offer { since: pair.0, head }));
            }
            Relation::Conflict => {
                link.told = Some(pair);
                out.extend(Word::pieces(&mine.text).map(Output::Send));
                out.push(Output::Send(Word::Show { head }));
                let (mine, theirs) = (mine.head.revision.clone(), theirs.revision.clone());
                // The same made twice is joined.
                if mine.content != theirs.content {
                    out.push(Output::Say(Notice::Conflict { mine, theirs }));
                }
            }
            // It offers what it has.
            _ => {}
        }
    }

    /// A version that the other engine sent.
    fn assembled(
        &mut self,
        head: Head,
        text: Option<String>,
        out: &mut Vec<Output>,
    ) -> Result<Version, Damage> {
        let assembled = match text {
            Some(text) => Version::assemble(head, &text, self.hash),
            None => Err(Damage::Long),
        };
        if let Err(damage) = assembled {
            self.malformed += 1;
            out.push(Output::Say(Notice::Malformed(damage.to_string())));
        }
        assembled
    }

    /// The same, which follows what is here and has a higher generation.
    fn following(
        &mut self,
        head: Head,
        text: Option<String>,
        out: &mut Vec<Output>,
    ) -> Result<Version, String> {
        let version = self.assembled(head, text, out).map_err(|damage| damage.to_string())?;
        let mine = &self.version.head.revision;
        if version.head.follows(mine.id) && version.head.revision.generation > mine.generation {
            return Ok(version);
        }
        self.malformed += 1;
        let what = format!(
            "generation {} does not follow generation {}",
            version.head.revision.generation, mine.generation
        );
        out.push(Output::Say(Notice::Malformed(what.clone())));
        Err(what)
    }

    fn asked(&mut self, since: Digest, head: Head, text: Option<String>, out: &mut Vec<Output>) {
        let id = head.revision.id;
        if let Err(why) = self.may_be_asked(since) {
            out.push(Output::Send(Word::refuse(id, &[why])));
            if since != self.version.head.revision.id {
                self.say_head(out);
            }
            return;
        }
        match self.following(head, text, out) {
            Ok(version) => {
                self.abandon(
                    &format!("{} changes the configuration at this moment: try again", self.other()),
                    out,
                );
                self.check(version, Origin::Prepare, out);
            }
            Err(why) => out.push(Output::Send(Word::refuse(id, &[why]))),
        }
    }

    /// Of two changes made at the same time the one made at the engine with the lower name goes on.
    fn may_be_asked(&self, since: Digest) -> Result<(), String> {
        let mine = &self.version.head.revision;
        if since != mine.id {
            return Err(format!("{} has generation {} by now", self.engine, mine.generation));
        }
        let first = self.peer.as_ref().is_some_and(|peer| self.engine < *peer);
        let busy = || Err(format!("a change that was made at {} is under way: try again", self.engine));
        match &self.work {
            // What it offered comes first: given up, it would not be offered again.
            Work::Keeping { .. } | Work::Checking { origin: Origin::Offer, .. } => busy(),
            Work::Asking { .. } | Work::Checking { origin: Origin::Person { .. }, .. } if first => busy(),
            _ => Ok(()),
        }
    }

    fn offered(&mut self, since: Digest, head: Head, text: Option<String>, out: &mut Vec<Output>) {
        // In these cases what we have, or will have, is news to it: it hears of that, and offers again.
        if since != self.version.head.revision.id || matches!(self.work, Work::Keeping { .. }) {
            return;
        }
        let id = head.revision.id;
        match self.following(head, text, out) {
            Ok(version) => {
                let generation = version.head.revision.generation;
                self.abandon(
                    &format!("{} has generation {generation}: look at it, and try again", self.other()),
                    out,
                );
                if let Some(link) = &mut self.link {
                    link.theirs = Some(version.head.clone());
                }
                self.check(version, Origin::Offer, out);
            }
            Err(why) => out.push(Output::Send(Word::refuse(id, &[why]))),
        }
    }

    fn shown(&mut self, head: Head, text: Option<String>, out: &mut Vec<Output>) {
        let Ok(version) = self.assembled(head, text, out) else { return };
        if let Some(link) = &mut self.link
            && link.theirs.as_ref().is_some_and(|theirs| theirs.revision.id == version.head.revision.id)
        {
            link.their_text = Some(version.text);
        }
    }

    fn ready(&mut self, id: Digest, out: &mut Vec<Output>) {
        match std::mem::replace(&mut self.work, Work::Idle) {
            Work::Asking { version, asker, .. } if version.head.revision.id == id => {
                self.keep(version, Keeper::Mine { asker, asked: true, alone: false }, out);
            }
            other => {
                self.work = other;
                let underway =
                    matches!(&self.work, Work::Keeping { version, .. } if version.head.revision.id == id);
                if !underway && id != self.version.head.revision.id {
                    out.push(Output::Send(Word::Abort { id }));
                }
            }
        }
    }

    fn refused(&mut self, id: Digest, reasons: &[String], out: &mut Vec<Output>) {
        let asked = matches!(&self.work, Work::Asking { version, .. } if version.head.revision.id == id);
        if asked {
            let reasons = cut(reasons).join("\n  ");
            self.abandon(&format!("refused by {}: nothing was changed\n  {reasons}", self.other()), out);
        } else if id == self.version.head.revision.id {
            if self.confirming.as_ref().is_some_and(|confirming| confirming.id == id) {
                self.confirm(PeerOutcome::Failed(cut(reasons)), out);
            }
            self.decline(self.version.head.revision.clone(), false, reasons, out);
        }
    }

    fn committed(&mut self, id: Digest, out: &mut Vec<Output>) {
        match std::mem::replace(&mut self.work, Work::Idle) {
            Work::Promised { version, .. } if version.head.revision.id == id => {
                if let Some(link) = &mut self.link {
                    link.theirs = Some(version.head.clone());
                }
                self.keep(version, Keeper::Theirs, out);
            }
            other => {
                self.work = other;
                // The promise is over: it offers what it has once it knows what we have.
                self.say_head(out);
            }
        }
    }
}
