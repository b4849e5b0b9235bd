//! Reads one TOML table field by field and goes on after an error, so that a person sees every
//! mistake at once. A key nobody asked for is an error too.

use super::problem::Problem;
use super::suggest;
use super::value::Value;
use toml::Table;

/// What a table reads into. `index` is its place in its array, 0 if there is only one.
pub trait Read: Sized {
    /// `None` only after a problem was recorded.
    fn read(section: &mut Section<'_>, index: usize) -> Option<Self>;
}

/// One table of the file and what was asked of it.
pub struct Section<'a> {
    table: &'a Table,
    path: String,
    asked: Vec<&'static str>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Section<'a> {
    /// The table at `path` ("" for the whole file).
    pub fn new(table: &'a Table, path: impl Into<String>, problems: &'a mut Vec<Problem>) -> Section<'a> {
        Section { table, path: path.into(), asked: Vec::new(), problems }
    }

    /// The TOML path of one of its keys.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether the key is there at all, valid or not.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The keys that were asked for so far.
    pub fn asked(&self) -> &[&'static str] {
        &self.asked
    }

    /// Records that something about `key` is wrong.
    pub fn wrong(&mut self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem::new(self.path_of(key), what, remedy));
    }

    /// A value that may be absent. A wrong one is recorded and reads as absent.
    pub fn optional<T: Value>(&mut self, key: &'static str) -> Option<T> {
        self.asked.push(key);
        let value = self.table.get(key)?;
        T::read(value, &self.path_of(key), self.problems)
    }

    /// A value that must be there.
    pub fn required<T: Value>(&mut self, key: &'static str) -> Option<T> {
        if !self.has(key) {
            self.asked.push(key);
            self.wrong(key, "is missing", format!("write {key} = {}", T::EXAMPLE));
            return None;
        }
        self.optional(key)
    }

    /// A value with a default.
    pub fn or<T: Value>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// A table within this one: `None` if absent, `Some(None)` if wrong.
    pub fn table<T: Read>(&mut self, key: &'static str) -> Option<Option<T>> {
        self.asked.push(key);
        let path = self.path_of(key);
        match self.table.get(key)? {
            toml::Value::Table(table) => Some(read(table, path, 0, self.problems)),
            other => {
                let what = format!("is {}, not a table", super::value::kind(other));
                self.wrong(key, what, format!("write [{path}] and its keys below it"));
                Some(None)
            }
        }
    }

    /// An array of tables, in order; wrong ones are recorded and left out.
    pub fn tables<T: Read>(&mut self, key: &'static str) -> Vec<T> {
        self.asked.push(key);
        let path = self.path_of(key);
        let Some(value) = self.table.get(key) else { return Vec::new() };
        let tables: Option<Vec<&Table>> =
            value.as_array().and_then(|a| a.iter().map(|v| v.as_table()).collect());
        let Some(tables) = tables else {
            let what = format!("is {}, not an array of tables", super::value::kind(value));
            self.wrong(key, what, format!("write [[{path}]] with double brackets, once for each"));
            return Vec::new();
        };
        let read_one = |(i, table)| read(table, format!("{path}[{i}]"), i, self.problems);
        tables.into_iter().enumerate().filter_map(read_one).collect()
    }

    /// Records the keys that nobody asked for.
    pub fn finish(self) {
        for key in self.table.keys().filter(|k| !self.asked.contains(&k.as_str())) {
            let path = self.path_of(key);
            self.problems.push(if looks_secret(key) {
                Problem::new(
                    path,
                    "a static key is never read from a file: its nonces would repeat after a restart",
                    "remove it; SA keys come fresh from the TLS control connection, see [control] and [[peer]]",
                )
            } else {
                let what = if self.path.is_empty() { "unknown section" } else { "unknown key" };
                Problem::new(path, what, suggest::remedy(key, key, &self.asked))
            });
        }
    }
}

/// Reads a whole table, unknown keys included.
pub fn read<T: Read>(table: &Table, path: String, index: usize, problems: &mut Vec<Problem>) -> Option<T> {
    let mut section = Section::new(table, path, problems);
    let value = T::read(&mut section, index);
    section.finish();
    value
}

/// Whether a key is meant to hold key material (DESIGN §7 rule 1).
fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["key", "secret", "psk", "password", "passphrase", "salt"].iter().any(|word| key.contains(word))
}
