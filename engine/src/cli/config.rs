//! `foreshift config`: what the engines of a site run alike.

use super::Engine;
use super::table::Table;
use crate::api::site::{SiteRequest, SiteStatus, Who};
use crate::api::{Request, client};
use crate::site::diff::{diff, utc};
use crate::site::{Stamp, stamped, told};
use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, ValueEnum};
use control::replication::{Relation, Revision};
use serde::de::DeserializeOwned;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// A change is checked and written at two engines before its answer comes.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what is in force, as a file that can be changed and applied
    Show {
        /// The text of an earlier generation in its place
        #[arg(value_name = "GENERATION")]
        generation: Option<u64>,
        /// Print JSON: both engines' revisions, and in a conflict both texts
        #[arg(long, conflicts_with = "generation")]
        json: bool,
        #[command(flatten)]
        engine: Engine,
    },
    /// Let a file take the place of the generation that it was made from, at both engines or at none
    Apply {
        /// TOML: routes, the access list, prediction and groups, as `config show` prints them
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// That generation, if the file's first line does not say
        #[arg(long, value_name = "GENERATION")]
        from: Option<u64>,
        /// Why, for the history
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
        /// Do not ask the other engine first: it is told, and may be unable to follow
        #[arg(long)]
        alone: bool,
        #[command(flatten)]
        engine: Engine,
    },
    /// Show how a file, or what the other engine has, differs from what is in force here
    Diff {
        /// The file
        #[arg(value_name = "FILE", required_unless_present = "theirs")]
        file: Option<PathBuf>,
        /// What the other engine has, in a conflict
        #[arg(long, conflicts_with = "file")]
        theirs: bool,
        #[command(flatten)]
        engine: Engine,
    },
    /// List the generations that are kept
    History {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        engine: Engine,
    },
    /// Let the text of an earlier generation follow the one in force; 0 is what each engine's file says
    Rollback {
        /// Which
        #[arg(value_name = "GENERATION")]
        generation: u64,
        /// Why, for the history
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
        #[command(flatten)]
        engine: Engine,
    },
    /// After both engines were changed while apart: say which of the two is to follow both
    Resolve {
        /// That of the engine that is asked, or of the other one
        #[arg(long, value_enum)]
        take: Take,
        /// Why, for the history
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
        #[command(flatten)]
        engine: Engine,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Take {
    Mine,
    Theirs,
}

/// Asks and prints.
pub fn run(arguments: &Arguments) -> Result<()> {
    let text = match &arguments.action {
        Action::Show { generation: Some(generation), engine, .. } => {
            ask(engine, SiteRequest::Text { generation: *generation })?
        }
        Action::Show { json, engine, .. } => show(&ask(engine, SiteRequest::Show)?, *json)?,
        Action::Apply { file, from, note, alone, engine } => {
            let path = std::path::absolute(file).with_context(|| file.display().to_string())?;
            change(engine, SiteRequest::Apply { path, from: *from, alone: *alone, who: who(note) })?
        }
        Action::Diff { file, engine, .. } => difference(file.as_ref(), &ask(engine, SiteRequest::Show)?)?,
        Action::History { json, engine } => {
            let kept: Vec<Revision> = ask(engine, SiteRequest::History)?;
            if *json { serde_json::to_string_pretty(&kept)? + "\n" } else { history(&kept) }
        }
        Action::Rollback { generation, note, engine } => {
            change(engine, SiteRequest::Rollback { generation: *generation, who: who(note) })?
        }
        Action::Resolve { take, note, engine } => {
            change(engine, SiteRequest::Resolve { mine: *take == Take::Mine, who: who(note) })?
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // `| head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn ask<T: DeserializeOwned>(engine: &Engine, request: SiteRequest) -> Result<T> {
    Ok(client::ask_within(&engine.socket()?, &Request::Config { request }, PATIENCE)?)
}

fn change(engine: &Engine, request: SiteRequest) -> Result<String> {
    Ok(ask::<String>(engine, request).context("not done")? + "\n")
}

/// Who asks, as the system knows them: behind `sudo` the person who used it.
fn who(note: &str) -> Who {
    let mut named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let author = named.find(|name| !name.is_empty());
    Who { author: author.unwrap_or_else(|| "unknown".to_owned()), note: note.to_owned() }
}

/// The text, and before it what it is.
pub fn show(status: &SiteStatus, json: bool) -> Result<String> {
    if json {
        return Ok(serde_json::to_string_pretty(status)? + "\n");
    }
    let mut relation = told(&status.status.relation, status.peer.as_deref());
    if let (Relation::Conflict, Some(theirs)) = (&status.status.relation, &status.theirs) {
        let Revision { generation, author, engine, at_ms, .. } = &theirs.revision;
        relation +=
            &format!("\n#! theirs: generation {generation}, by {author} at {engine}, {}", utc(*at_ms));
    }
    if let Some(alarm) = &status.status.alarm {
        relation += &format!("\n#! ALARM: {alarm}");
    }
    Ok(stamped(&status.head, &relation, &status.text))
}

fn difference(file: Option<&PathBuf>, status: &SiteStatus) -> Result<String> {
    let other = match file {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            Stamp::read(&text).text.to_owned()
        }
        None => status
            .their_text
            .clone()
            .context("there is no conflict: the other engine has shown no other text")?,
    };
    Ok(diff(&status.text, &other))
}

fn history(kept: &[Revision]) -> String {
    let mut table = Table::new(&["GENERATION", "ID", "AT", "TIME", "BY", "NOTE"]);
    for revision in kept {
        table.row([
            revision.generation.to_string(),
            revision.id.short(),
            revision.engine.clone(),
            utc(revision.at_ms),
            revision.author.clone(),
            revision.note.clone(),
        ]);
    }
    table.render("nothing was ever shared: each engine has what its file says")
}
