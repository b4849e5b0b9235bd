//! Configuration replication within a pair: what the site's engines run alike, as one text with a history.
//!
//! A *revision* is named by a digest over its content, its author and the revision it was made from, so that two changes
//! are never taken for one another, and an engine can tell whether the other's revision follows its own, precedes it, or was
//! made beside it. *Generations* number them for people: each is higher than those that it follows.
//!
//! - **A change** is checked here, then by the other engine against its own file, and only then kept and applied by both
//!   ([`Word::Prepare`], [`Word::Ready`], [`Word::Commit`]). While the other is away it gets the change when it comes back.
//! - **After a reconnect** both say what they have ([`Word::Head`]). Who has a revision that follows the other's
//!   offers it ([`Word::Offer`]), and the other takes it in place of exactly what it has.
//! - **Two that were made apart** are a conflict: neither replaces the other, both are shown ([`Word::Show`]), and a person says
//!   which is to follow both. The same text made twice is none, and is joined without asking.
//!
//! [`Replicator`] decides and does no I/O: it asks for checks and for what is to be kept, and is told how they went. What was
//! promised is not remembered over a crash: the reconnect compares what was kept, which repairs every phase alike.

mod replicator;
mod revision;
#[cfg(test)]
mod tests;
mod word;

pub use replicator::{
    Declined, Done, Input, Notice, Output, PeerOutcome, Relation, Replicator, Request, Side, Timing,
};
pub use revision::{
    ANCESTORS_MAX, By, DOCUMENT_MAX, Damage, Digest, GENERATION_MAX, Hash, Head, Revision, Version,
};
pub use word::{PIECE_MAX, Word};
