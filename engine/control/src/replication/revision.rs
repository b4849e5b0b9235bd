//! Revisions: named by what they are made of, so that a damaged or forged one has another name.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The longest text, octets.
pub const DOCUMENT_MAX: usize = 256 * 1024;
/// Names of earlier revisions that are carried along: an engine that is further behind is in conflict.
pub const ANCESTORS_MAX: usize = 256;
/// The last generation: every JSON reader holds it exactly.
pub const GENERATION_MAX: u64 = 1 << 53;
/// Longest name of an engine or a person, and the longest note, octets.
const WORDS_MAX: usize = 256;

/// What computes digests: SHA-256, which this crate does not have.
pub type Hash = fn(&[u8]) -> [u8; 32];

/// A SHA-256 digest, written in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// What the first revision follows: each engine's file, and nothing else.
    pub const ROOT: Digest = Digest([0; 32]);

    /// Of some octets.
    pub fn of(octets: &[u8], hash: Hash) -> Digest {
        Digest(hash(octets))
    }

    /// Its beginning, enough for a person to tell two apart.
    pub fn short(&self) -> String {
        self.0[..6].iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Digest, &'static str> {
        let wrong = "not a digest of 64 hexadecimal digits in lower case";
        let (mut octets, text) = ([0; 32], text.as_bytes());
        if text.len() != 64 || text.iter().any(|c| !matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong);
        }
        for (octet, pair) in octets.iter_mut().zip(text.chunks_exact(2)) {
            let digit = |c: u8| if c.is_ascii_digit() { c - b'0' } else { c - b'a' + 10 };
            *octet = digit(pair[0]) << 4 | digit(pair[1]);
        }
        Ok(Digest(octets))
    }
}

/// Who makes a change, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// The person, as the command knows them.
    pub author: String,
    /// UNIX time, milliseconds.
    pub at_ms: u64,
    /// What the person, or the engine, says about it; may be empty.
    pub note: String,
}

/// One change of the site's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Higher than that of every revision it follows; 0 is nobody's.
    pub generation: u64,
    /// Its name: the digest of all that follows, and of the generation.
    pub id: Digest,
    /// What it was made from.
    pub parent: Digest,
    /// What was made beside that, if a person has resolved a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Digest>,
    /// Of its text.
    pub content: Digest,
    /// The engine where it was made.
    pub engine: String,
    /// The person who made it.
    pub author: String,
    /// When, UNIX time in milliseconds, by that engine's clock.
    pub at_ms: u64,
    /// Why, if anything was said.
    #[serde(default)]
    pub note: String,
}

impl Revision {
    /// The name of what is in the other fields. Each has a fixed or a leading length, so that no two share an encoding.
    fn name(&self, hash: Hash) -> Digest {
        let mut octets = b"foreshift site configuration 1\0".to_vec();
        octets.extend(self.generation.to_be_bytes());
        octets.extend(self.parent.0);
        octets.extend(self.supersedes.unwrap_or(Digest::ROOT).0);
        octets.extend(self.content.0);
        octets.extend(self.at_ms.to_be_bytes());
        for words in [&self.engine, &self.author, &self.note] {
            octets.extend((words.len() as u64).to_be_bytes());
            octets.extend(words.as_bytes());
        }
        Digest::of(&octets, hash)
    }
}

/// A revision and what it follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The revision.
    pub revision: Revision,
    /// The names of those before it, the newest first, its parent ahead; [`Digest::ROOT`] is everyone's.
    pub ancestors: Vec<Digest>,
}

impl Head {
    /// Nothing was ever changed: each engine has what its file says.
    fn root(hash: Hash) -> Head {
        let revision = Revision {
            generation: 0,
            id: Digest::ROOT,
            parent: Digest::ROOT,
            supersedes: None,
            content: Digest::of(b"", hash),
            engine: String::new(),
            author: String::new(),
            at_ms: 0,
            note: String::new(),
        };
        Head { revision, ancestors: Vec::new() }
    }

    /// Whether this follows the revision called `id`.
    pub fn follows(&self, id: Digest) -> bool {
        self.revision.id != id && (id == Digest::ROOT || self.ancestors.contains(&id))
    }

    /// Whether nothing was ever changed.
    pub fn is_root(&self) -> bool {
        self.revision.id == Digest::ROOT
    }
}

/// Why what was read, or was sent by the other engine, is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// More than [`DOCUMENT_MAX`] octets.
    #[error("its text has more than {DOCUMENT_MAX} octets")]
    Long,
    /// Generation 0, or one above [`GENERATION_MAX`].
    #[error("its generation is none that can be")]
    Generation,
    /// What is said of its history cannot be.
    #[error("its history does not fit together")]
    History,
    /// Names or notes of more than 256 octets.
    #[error("its names are too long")]
    Words,
    /// The text is another one.
    #[error("its text is not the one that it names")]
    Text,
    /// Something else was changed.
    #[error("it does not have the name that it should")]
    Name,
}

/// A revision with its text: what is kept, checked and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Which, and what it follows.
    pub head: Head,
    /// TOML: what the site's engines run alike.
    pub text: Arc<str>,
}

impl Version {
    /// Nothing was ever changed.
    pub fn root(hash: Hash) -> Version {
        Version { head: Head::root(hash), text: "".into() }
    }

    /// Puts together what was read.
    ///
    /// # Errors
    /// If the parts are not those of one revision.
    pub fn assemble(head: Head, text: &str, hash: Hash) -> Result<Version, Damage> {
        let Revision { generation, id, parent, supersedes, .. } = head.revision;
        let words = [&head.revision.engine, &head.revision.author, &head.revision.note];
        let known = |id: Digest| id == Digest::ROOT || head.ancestors.contains(&id);
        if text.len() > DOCUMENT_MAX {
            Err(Damage::Long)
        } else if !(1..=GENERATION_MAX).contains(&generation) {
            Err(Damage::Generation)
        } else if head.ancestors.len() > ANCESTORS_MAX
            || head.ancestors.first().is_some_and(|first| *first != parent)
            || !known(parent)
            || supersedes.is_some_and(|other| !known(other))
            || head.ancestors.contains(&id)
        {
            Err(Damage::History)
        } else if words.iter().any(|words| words.len() > WORDS_MAX) {
            Err(Damage::Words)
        } else if head.revision.content != Digest::of(text.as_bytes(), hash) {
            Err(Damage::Text)
        } else if id != head.revision.name(hash) || id == Digest::ROOT {
            Err(Damage::Name)
        } else {
            Ok(Version { head, text: text.into() })
        }
    }

    /// The change after this one, made at `engine`, whose generation is above `floor` too. With `beside` it follows
    /// that one as well. `None` once generations are used up.
    pub fn next(
        &self,
        beside: Option<&Head>,
        text: Arc<str>,
        (engine, by): (&str, By),
        floor: u64,
        hash: Hash,
    ) -> Option<Version> {
        let above = beside.map_or(0, |other| other.revision.generation);
        let highest = self.head.revision.generation.max(above).max(floor);
        let generation = highest.checked_add(1).filter(|generation| *generation <= GENERATION_MAX)?;
        let clip = |words: &str| {
            let end = (0..=words.len().min(WORDS_MAX)).rev().find(|&end| words.is_char_boundary(end));
            words[..end.unwrap_or(0)].to_owned()
        };
        let mut revision = Revision {
            generation,
            id: Digest::ROOT,
            parent: self.head.revision.id,
            supersedes: beside.map(|other| other.revision.id),
            content: Digest::of(text.as_bytes(), hash),
            engine: clip(engine),
            author: clip(&by.author),
            at_ms: by.at_ms,
            note: clip(&by.note),
        };
        revision.id = revision.name(hash);
        Some(Version { head: Head { ancestors: self.history(beside), revision }, text })
    }

    /// The names of this one, of that beside it, and of all before them, newest first as far as that is known.
    fn history(&self, beside: Option<&Head>) -> Vec<Digest> {
        let names = |head: &Head| {
            let own = [head.revision.id].into_iter().chain(head.ancestors.iter().copied());
            own.filter(|id| *id != Digest::ROOT).collect::<Vec<_>>()
        };
        let (here, there) = (names(&self.head), beside.map(names).unwrap_or_default());
        let mut all: Vec<Digest> = Vec::new();
        for place in 0..here.len().max(there.len()) {
            for id in [here.get(place), there.get(place)].into_iter().flatten() {
                if !all.contains(id) {
                    all.push(*id);
                }
            }
        }
        all.truncate(ANCESTORS_MAX);
        all
    }
}
