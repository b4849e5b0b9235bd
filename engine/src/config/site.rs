//! What the engines of a site run alike: a text of its own, which lies over each engine's file.
//!
//! [`SHARED`] is the one list of it. A section that the text has takes the place of what the file says of the same; what it does
//! not mention each engine's file says. Ports, addresses, names, keys and whatever else makes an engine itself are never in
//! it, and every key that is not shared is a mistake with its path, as in a file.
//!
//! - `[[route]]`: all of them, but for the file's routes `via` a router: these are an engine's own way out, and stay unless
//!   the text has the same prefix.
//! - `[acl]` with its rules: the whole list.
//! - `[prediction]`: `mode`, `threshold`, `moves_max` and `moves_minutes`, each by itself.
//! - `[[group]]`: of the groups by name `sla_weight` and `mss_clamp`, each by itself; and `[[group.shaper]]`, the rates of the
//!   shapers that the engines' own tunnels of the group have, those of one `protocol` or all of them.

mod merge;

use super::access::AccessList;
use super::model::{Kbps, Route};
use super::problem::{ConfigErrors, Problem};
use super::section::{Read, Section};
use super::types::{Mode, Name, ProtocolName};
use super::value::{Probability, Weight, Whole};
use super::{Config, check_table, parse_table};
use merge::Merge;
use std::path::{Path, PathBuf};
use toml::Table;

/// The sections that are shared, as far as the module says.
pub const SHARED: [&str; 4] = ["route", "acl", "prediction", "group"];

/// `[site]`
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The folder where its generations are kept.
    pub keep: PathBuf,
    /// How many of them.
    pub history: Whole<2, 1000>,
}

impl Read for Site {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Site> {
        let history = s.or("history", Whole::constant::<32>());
        Some(Site { keep: s.required("keep")?, history })
    }
}

/// `[prediction]` of a site.
struct SitePrediction;

impl Read for SitePrediction {
    fn read(s: &mut Section<'_>, _: usize) -> Option<SitePrediction> {
        // Read for their mistakes; the tables are merged as they are written.
        let _ = (s.optional::<Mode>("mode"), s.optional::<Probability>("threshold"));
        let _ = (s.optional::<Whole<0, 100>>("moves_max"), s.optional::<Whole<1, 1440>>("moves_minutes"));
        Some(SitePrediction)
    }
}

/// `[[group]]` of a site.
struct SiteGroup {
    index: usize,
    name: Name,
    shapers: Vec<SiteShaper>,
}

impl Read for SiteGroup {
    fn read(s: &mut Section<'_>, index: usize) -> Option<SiteGroup> {
        let name = s.required("name");
        let _ = (s.optional::<Weight>("sla_weight"), s.optional::<bool>("mss_clamp"));
        let shapers = s.tables("shaper");
        Some(SiteGroup { index, name: name?, shapers })
    }
}

/// `[[group.shaper]]`
struct SiteShaper {
    index: usize,
    protocol: Option<ProtocolName>,
    rate: Option<Kbps>,
    classes: Vec<SiteClass>,
}

impl Read for SiteShaper {
    fn read(s: &mut Section<'_>, index: usize) -> Option<SiteShaper> {
        let (protocol, rate) = (s.optional("protocol"), s.optional("rate_kbps"));
        let classes: Vec<SiteClass> = s.tables("class");
        if !s.has("rate_kbps") && !s.has("class") {
            s.wrong(
                "rate_kbps",
                "is missing, and there is no class",
                "write rate_kbps = 100_000, or a class",
            );
        }
        Some(SiteShaper { index, protocol, rate, classes })
    }
}

/// `[[group.shaper.class]]`
struct SiteClass {
    index: usize,
    name: Name,
    rate: Kbps,
}

impl Read for SiteClass {
    fn read(s: &mut Section<'_>, index: usize) -> Option<SiteClass> {
        let (name, rate) = (s.required("name"), s.required("rate_kbps"));
        Some(SiteClass { index, name: name?, rate: rate? })
    }
}

/// The parts of a site's text that a merge asks about.
struct Document {
    table: Table,
    routes: Vec<Route>,
    groups: Vec<SiteGroup>,
}

impl Document {
    /// Reads a text by itself.
    fn read(text: &str) -> Result<Document, Vec<Problem>> {
        let mut table = parse_table(text).map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        for key in Config::section_names().into_iter().filter(|key| !SHARED.contains(key)) {
            if table.remove(key).is_some() {
                let what = "belongs to each engine alone and is not shared";
                let remedy = format!("remove it; a site has {}", SHARED.join(", "));
                problems.push(Problem::new(key, what, remedy));
            }
        }
        let mut root = Section::new(&table, "", &mut problems);
        let (routes, groups) = (root.tables("route"), root.tables("group"));
        let _ = (root.table::<AccessList>("acl"), root.table::<SitePrediction>("prediction"));
        root.finish();
        if problems.is_empty() { Ok(Document { table, routes, groups }) } else { Err(problems) }
    }
}

/// An engine's own file, as it was read at the start: what a site's text is laid over.
#[derive(Clone, Debug)]
pub struct OwnFile {
    path: PathBuf,
    table: Table,
    config: Config,
}

impl OwnFile {
    /// Reads and validates a file, as [`Config::load`] does.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn load(path: &Path) -> Result<OwnFile, ConfigErrors> {
        let (config, table) = Config::load_with_table(path)?;
        Ok(OwnFile { path: path.to_owned(), table, config })
    }

    /// What it says by itself.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the engine is to run with a site's text over it.
    ///
    /// # Errors
    /// Every mistake in the text, with its path there; and what of the file it contradicts, with the file's name before
    /// the path.
    pub fn with_site(&self, text: &str) -> Result<Config, Vec<Problem>> {
        if text.is_empty() {
            return Ok(self.config.clone());
        }
        let document = Document::read(text)?;
        let Merge { table, routes, problems } = Merge::new(&self.table, &document);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut config = check_table(&table, &self.config.digest).map_err(|problems| {
            let placed = |problem: Problem| self.placed(problem, &document, routes);
            problems.into_iter().map(placed).collect::<Vec<_>>()
        })?;
        config.resolve_paths(self.path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// A problem of the merged tables, with the path where a person finds it. The text's routes come first in the merged list.
    fn placed(&self, problem: Problem, document: &Document, routes: usize) -> Problem {
        let index = |list: &str| {
            let rest = problem.path.strip_prefix(list)?.strip_prefix('[')?;
            rest.split(']').next()?.parse::<usize>().ok()
        };
        let in_text = match index("route") {
            Some(at) => at < routes,
            None => problem.path.starts_with("acl") && document.table.contains_key("acl"),
        };
        if in_text {
            return problem;
        }
        let path = format!("{}, {}", self.path.display(), problem.path);
        Problem { path, ..problem }
    }

    /// What of the file could be shared, as a text to begin with.
    pub fn shareable(&self) -> String {
        let mut table = Table::new();
        for key in ["route", "acl"] {
            if let Some(value) = self.table.get(key) {
                table.insert(key.to_owned(), value.clone());
            }
        }
        let keys = |from: &Table, keys: &[&str]| -> Table {
            let known = from.iter().filter(|(key, _)| keys.contains(&key.as_str()));
            known.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        if let Some(prediction) = self.table.get("prediction").and_then(toml::Value::as_table) {
            let prediction = keys(prediction, &["mode", "threshold", "moves_max", "moves_minutes"]);
            table.insert("prediction".to_owned(), prediction.into());
        }
        let groups = self.table.get("group").and_then(toml::Value::as_array).into_iter().flatten();
        let groups =
            groups.filter_map(|group| Some(keys(group.as_table()?, &["name", "sla_weight", "mss_clamp"])));
        let groups: Vec<toml::Value> = groups.map(Into::into).collect();
        if !groups.is_empty() {
            table.insert("group".to_owned(), groups.into());
        }
        toml::to_string(&table).unwrap_or_default()
    }
}
