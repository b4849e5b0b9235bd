//! A site's text as people have it: with lines before it that say which generation it was made from.

use control::replication::{Head, Relation};
use std::fmt::Write as _;

/// What a line begins with that is not part of the text. To TOML it is a comment.
const MARK: &str = "#!";

/// A text without its first marked lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp<'a> {
    /// The generation that they say.
    pub generation: Option<u64>,
    /// The rest.
    pub text: &'a str,
}

impl<'a> Stamp<'a> {
    /// Takes the marked lines off.
    pub fn read(text: &'a str) -> Stamp<'a> {
        let (mut rest, mut generation) = (text, None);
        while rest.starts_with(MARK) {
            let (line, behind) = rest.split_once('\n').unwrap_or((rest, ""));
            let number = line[MARK.len()..].trim().strip_prefix("generation ");
            let number = number.map(|words| words.trim_end_matches(|c: char| !c.is_ascii_digit()));
            let number = number.and_then(|words| words.split(|c: char| !c.is_ascii_digit()).next());
            generation = generation.or(number.and_then(|number| number.parse().ok()));
            rest = behind;
        }
        Stamp { generation, text: rest }
    }
}

/// The lines that say what a text is.
pub fn stamped(head: &Head, relation: &str, text: &str) -> String {
    let mut lines = String::new();
    let revision = &head.revision;
    // A String takes all that is written.
    let _ = if head.is_root() {
        writeln!(lines, "{MARK} generation 0: nothing is shared yet; this is what the engine's file says")
    } else {
        let at = super::diff::utc(revision.at_ms);
        writeln!(
            lines,
            "{MARK} generation {}, by {} at {}, {at}",
            revision.generation, revision.author, revision.engine
        )
    };
    if !revision.note.is_empty() {
        let _ = writeln!(lines, "{MARK} {}", revision.note.replace(char::is_control, " "));
    }
    let _ = writeln!(lines, "{MARK} {relation}");
    lines + text
}

/// How it stands with the other engine, in words.
pub fn told(relation: &Relation, peer: Option<&str>) -> String {
    let peer = peer.unwrap_or("the other engine");
    let why = |declined: &[String]| match declined {
        [] => String::new(),
        reasons => format!(": it does not fit there: {}", reasons.join("; ")),
    };
    match relation {
        Relation::NoPeer => "there is no other engine".to_owned(),
        Relation::Away => format!("{peer} is away"),
        Relation::Unable => format!("{peer} shares no configuration: write [site] in its file"),
        Relation::Comparing => format!("{peer} has not said yet what it has"),
        Relation::InSync => format!("{peer} has the same"),
        Relation::Ahead { declined } => format!("{peer} has not taken this yet{}", why(declined)),
        Relation::Behind { declined } if declined.is_empty() => format!("{peer} has a newer one, on its way"),
        Relation::Behind { declined } => {
            format!("{peer} has a newer one that does not fit here: {}", declined.join("; "))
        }
        Relation::Conflict => {
            format!(
                "CONFLICT: {peer} was changed too while the engines were apart; see `config diff --theirs`"
            )
        }
    }
}
