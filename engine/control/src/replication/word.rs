//! What the two engines of a site say to each other about their configuration. A text goes ahead of the word that it
//! belongs to, in pieces, as a message is shorter than a text may be.

use super::revision::{DOCUMENT_MAX, Digest, Head};
use serde::{Deserialize, Serialize};

/// The longest piece, octets: escaped as JSON it is at most six times as long.
pub const PIECE_MAX: usize = 8 * 1024;
/// Reasons of a refusal that are told, and the longest of them.
const REASONS_MAX: usize = 20;
const REASON_MAX: usize = 400;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum Word {
    /// "This is what I have": after each connect and each change.
    Head { head: Box<Head> },
    /// A part of the text of the next word.
    Piece { text: String },
    /// "Could you take this in place of `since`?": answered by the next two.
    Prepare { since: Digest, head: Box<Head> },
    /// "I could, and wait for your word".
    Ready { id: Digest },
    /// "I cannot take it", or "could not keep it".
    Refuse { id: Digest, reasons: Vec<String> },
    /// "I have it; take it now".
    Commit { id: Digest },
    /// "It will not be".
    Abort { id: Digest },
    /// "Mine follows yours, which is `since`: take it".
    Offer { since: Digest, head: Box<Head> },
    /// "Mine was made beside yours; look at it".
    Show { head: Box<Head> },
}

impl Word {
    /// A refusal, cut to what a message may hold.
    pub fn refuse(id: Digest, reasons: &[String]) -> Word {
        Word::Refuse { id, reasons: cut(reasons) }
    }

    /// A text as it is sent: whole characters in each piece.
    pub fn pieces(text: &str) -> impl Iterator<Item = Word> {
        let mut rest = text;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let most = rest.len().min(PIECE_MAX);
            let end = (1..=most).rev().find(|&end| rest.is_char_boundary(end))?;
            let (piece, behind) = rest.split_at(end);
            rest = behind;
            Some(Word::Piece { text: piece.to_owned() })
        })
    }
}

/// Reasons as they are told and remembered.
pub(super) fn cut(reasons: &[String]) -> Vec<String> {
    let one = |reason: &String| reason.chars().take(REASON_MAX).collect::<String>();
    let mut told: Vec<String> = reasons.iter().take(REASONS_MAX).map(one).collect();
    if reasons.len() > REASONS_MAX {
        told.push(format!("{} more", reasons.len() - REASONS_MAX));
    }
    told
}

/// Pieces that have arrived and belong to the word that follows. Never more than a text may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pieces {
    text: String,
    too_long: bool,
}

impl Pieces {
    pub fn push(&mut self, piece: &str) {
        if self.too_long || self.text.len() + piece.len() > DOCUMENT_MAX {
            self.too_long = true;
            self.text = String::new();
        } else {
            self.text.push_str(piece);
        }
    }

    /// The text; `None` if there was too much of it.
    pub fn take(&mut self) -> Option<String> {
        let Pieces { text, too_long } = std::mem::take(self);
        (!too_long).then_some(text)
    }
}
