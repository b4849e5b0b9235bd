//! Names of what is kept: paths such as `/foreshift/v1/eu/engine/a1/health`.

use std::fmt;

/// The longest key, octets.
const LENGTH_MAX: usize = 512;

/// Why a text names nothing in a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It does not begin with `/`, or has an empty part.
    #[error("{0:?} is not a path: write /-separated parts, each of at least one character")]
    NotAPath(String),
    /// It has characters that terminals and other tools would not show.
    #[error("{0:?} has a control character")]
    Control(String),
    /// It is too long.
    #[error("a key of {0} octets is longer than 512")]
    TooLong(usize),
}

fn check(text: &str) -> Result<(), KeyError> {
    if text.len() > LENGTH_MAX {
        return Err(KeyError::TooLong(text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err(KeyError::Control(text.to_owned()));
    }
    match text.strip_prefix('/') {
        Some(parts) if parts.split('/').all(|part| !part.is_empty()) => Ok(()),
        _ => Err(KeyError::NotAPath(text.to_owned())),
    }
}

/// The name of one value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The key written as `text`.
    ///
    /// # Errors
    /// If it is no path of at most 512 octets.
    pub fn new(text: impl Into<String>) -> Result<Key, KeyError> {
        let text = text.into();
        check(&text).map(|()| Key(text))
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All keys below a path. Ends with `/`, so that `/a/` does not hold `/ab`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(String);

impl Prefix {
    /// All keys below the path `text`, which ends with `/`.
    ///
    /// # Errors
    /// If it is no path, or does not end with `/`.
    pub fn new(text: impl Into<String>) -> Result<Prefix, KeyError> {
        let text = text.into();
        let path = text.strip_suffix('/').ok_or_else(|| KeyError::NotAPath(text.clone()))?;
        check(path).map(|()| Prefix(text))
    }

    /// As written, with its `/` at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a key is below it.
    pub fn contains(&self, key: &str) -> bool {
        key.starts_with(&self.0)
    }

    /// The first text behind every key below it.
    pub(crate) fn end(&self) -> String {
        let path = self.0.strip_suffix('/').unwrap_or(&self.0);
        // '0' follows '/'.
        format!("{path}0")
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_are_keys() {
        for good in ["/a", "/foreshift/v1/eu/engine/a1/health", "/ä/b"] {
            assert_eq!(Key::new(good).expect(good).as_str(), good);
            assert!(Prefix::new(format!("{good}/")).is_ok());
        }
        for bad in ["", "/", "a", "a/b", "/a/", "/a//b", "/a\n", &format!("/{}", "x".repeat(512))] {
            assert!(Key::new(bad).is_err(), "{bad:?}");
        }
        assert!(Prefix::new("/a").is_err());
    }

    #[test]
    fn a_prefix_holds_what_is_below_it() {
        let prefix = Prefix::new("/a/").expect("a prefix");
        assert!(prefix.contains("/a/b") && !prefix.contains("/ab") && !prefix.contains("/a"));
        assert!("/a/\u{10ffff}" < prefix.end().as_str() && prefix.end().as_str() < "/b");
    }
}
