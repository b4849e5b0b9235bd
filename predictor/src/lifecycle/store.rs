//! Models by name in a folder: `NAME/model.safetensors`, `NAME/card.json`, `NAME/card.md`, and `champion`, which holds the name of the
//! one in use. What cannot be loaded is never made champion.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::{Model, ModelError};
use crate::train::{Card, Trained};

/// The model's file in its folder, and its card for machines and for people.
pub const MODEL: &str = "model.safetensors";
/// See [`MODEL`].
pub const CARD: &str = "card.json";
/// See [`MODEL`].
pub const CARD_TEXT: &str = "card.md";
const CHAMPION: &str = "champion";

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A name that is no name.
    #[error(
        "`{0}` is not a model's name: letters, digits, `.`, `-` and `_`, at most 64, not beginning with `.`"
    )]
    Name(String),
    /// Nothing of that name.
    #[error("no model `{name}` in {store}: it has {there}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The folder.
        store: PathBuf,
        /// What there is.
        there: String,
    },
    /// It cannot be used.
    #[error("model `{name}` is refused: {source}")]
    Refused {
        /// Which.
        name: String,
        /// Why.
        source: ModelError,
    },
}

/// A model that is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// It is in use.
    pub champion: bool,
    /// Its card, if it can be read.
    pub card: Option<Card>,
    /// Why it could not be used.
    pub problem: Option<String>,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Opens the folder, and makes it if it is not there.
    pub fn open(folder: &Path) -> Result<Store, StoreError> {
        let store = Store { folder: folder.to_owned() };
        std::fs::create_dir_all(folder).map_err(|source| store.io(folder, source))?;
        Ok(store)
    }

    /// Keeps a model under its name, in place of one of the same name.
    pub fn add(&self, trained: &Trained) -> Result<(), StoreError> {
        let name = &trained.model.description().name;
        let target = self.place(name)?;
        let partial = self.folder.join(format!(".{name}.partial"));
        let written = || -> io::Result<()> {
            let _ = std::fs::remove_dir_all(&partial);
            trained.save(&partial)?;
            if target.exists() {
                std::fs::remove_dir_all(&target)?;
            }
            std::fs::rename(&partial, &target)
        };
        written().map_err(|source| self.io(&target, source))
    }

    /// Loads and checks a model.
    pub fn load(&self, name: &str) -> Result<Model, StoreError> {
        let file = self.place(name)?.join(MODEL);
        if !file.exists() {
            let there: Vec<String> = self.names();
            let there = if there.is_empty() { "none".into() } else { there.join(", ") };
            return Err(StoreError::Unknown { name: name.into(), store: self.folder.clone(), there });
        }
        Model::load(&file).map_err(|source| StoreError::Refused { name: name.into(), source })
    }

    /// The name of the model in use; `None` if none was ever chosen.
    pub fn champion(&self) -> Result<Option<String>, StoreError> {
        let path = self.folder.join(CHAMPION);
        match std::fs::read_to_string(&path) {
            Ok(name) => Ok(Some(name.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.io(&path, source)),
        }
    }

    /// Makes a model the one in use, if it can be used: a new champion, or an old one again. A running engine takes it up by itself.
    pub fn promote(&self, name: &str) -> Result<Model, StoreError> {
        let model = self.load(name)?;
        let (path, partial) = (self.folder.join(CHAMPION), self.folder.join(".champion.partial"));
        let written = std::fs::write(&partial, format!("{name}\n"));
        written.and_then(|()| std::fs::rename(&partial, &path)).map_err(|source| self.io(&path, source))?;
        Ok(model)
    }

    /// All models, by name.
    pub fn models(&self) -> Result<Vec<Kept>, StoreError> {
        let champion = self.champion()?;
        let kept = |name: String| {
            let card = Card::read(&self.folder.join(&name).join(CARD)).ok();
            let problem = self.load(&name).err().map(|error| error.to_string());
            Kept { champion: champion.as_ref() == Some(&name), card, problem, name }
        };
        Ok(self.names().into_iter().map(kept).collect())
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.filter(|entry| entry.path().is_dir());
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }

    fn place(&self, name: &str) -> Result<PathBuf, StoreError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
            return Err(StoreError::Name(name.into()));
        }
        Ok(self.folder.join(name))
    }

    fn io(&self, path: &Path, source: io::Error) -> StoreError {
        StoreError::Io { path: path.to_owned(), source }
    }
}
