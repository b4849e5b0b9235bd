//! What the engines of a site run alike, in this engine: kept on disk, laid over its own file, and turned into what is to change
//! while it runs. Who may change it, and when, [`control::replication`] decides.

pub mod diff;
mod kept;
mod text;

pub use kept::Kept;
#[cfg(any(test, fuzzing))]
pub use kept::parse;
pub use text::{Stamp, stamped, told};

use crate::config::site::OwnFile;
use crate::config::{Config, ConfigErrors};
use crate::plan::Plan;
use anyhow::{Context as _, Result, ensure};
use control::replication::Version;
use dataplane::acl::Acl;
use dataplane::id::InterfaceId;
use std::path::Path;
use std::sync::Arc;

/// SHA-256.
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, octets);
    *digest.as_ref().first_chunk().expect("SHA-256 has 32 octets")
}

/// What an engine starts with.
pub struct Start {
    /// Its file and what the site has over it.
    pub config: Config,
    /// What keeps the site's part, if it is kept.
    pub site: Option<Site>,
}

/// An engine's part in its site's configuration.
pub struct Site {
    /// Its own file.
    pub own: Arc<OwnFile>,
    /// The generations on disk.
    pub kept: Arc<Kept>,
    /// The one that is in force at the start.
    pub version: Version,
    /// The highest that was ever on this disk.
    pub floor: u64,
    /// What was wrong with those that are not in force.
    pub alarm: Option<String>,
}

impl Start {
    /// Reads an engine's file and, where it has `[site]`, what is kept of its site; `take_over`: while another process runs it.
    ///
    /// # Errors
    /// Every mistake in the file; what is wrong with the folder; or what of the site's generation does not fit the file.
    pub fn load(path: &Path, take_over: bool) -> Result<Start> {
        let own = OwnFile::load(path)?;
        let Some(section) = own.config().site.clone() else {
            return Ok(Start { config: own.config().clone(), site: None });
        };
        ensure!(
            !take_over,
            "[site] and --take-over do not go together: the process that runs keeps {} for itself; stop it, then start this one",
            section.keep.display()
        );
        let (kept, opened) = Kept::open(&section).context("site.keep")?;
        let config = own.with_site(&opened.version.text).map_err(|problems| {
            let generation = opened.version.head.revision.generation;
            let context = format!(
                "generation {generation} of the site's configuration ({}) does not fit {} any more: correct the file",
                section.keep.display(),
                path.display()
            );
            anyhow::Error::from(ConfigErrors { file: None, problems }).context(context)
        })?;
        let site = Site {
            own: Arc::new(own),
            kept: Arc::new(kept),
            version: opened.version,
            floor: opened.floor,
            alarm: opened.alarm,
        };
        Ok(Start { config, site: Some(site) })
    }
}

/// A version that fits this engine, and what it amounts to.
pub struct Prepared {
    /// Its file with the version over it.
    pub config: Config,
    /// What is to run.
    pub plan: Plan,
    /// The access list, compiled.
    pub acl: Option<Arc<Acl>>,
}

impl Prepared {
    /// Compares a text with an engine's own file, and with what cannot change while it runs: the interfaces `out_of` which its
    /// tunnels go.
    ///
    /// # Errors
    /// Every reason why it does not fit.
    pub fn new(own: &OwnFile, text: &str, out_of: &[InterfaceId]) -> Result<Prepared, Vec<String>> {
        let named = |problems: Vec<crate::config::Problem>| -> Vec<String> {
            problems.iter().map(ToString::to_string).collect()
        };
        let config = own.with_site(text).map_err(named)?;
        let plan = Plan::from_config(&config);
        let moved = plan.forwarding.tunnels.iter().zip(out_of).zip(&plan.tunnels);
        let moved: Vec<String> = moved
            .filter(|((tunnel, before), _)| tunnel.interface != **before)
            .map(|((tunnel, _), about)| {
                let out = &plan.interface_names[tunnel.interface.index()];
                format!(
                    "route: tunnel {} would leave by interface {out}; write that into the engines' files and start them again",
                    about.name
                )
            })
            .collect();
        if !moved.is_empty() {
            return Err(moved);
        }
        let acl = plan.access.acl().map_err(|error| vec![format!("acl.rule: {error}")])?;
        Ok(Prepared { config, plan, acl })
    }
}
