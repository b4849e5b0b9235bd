//! What the sections must say of each other.

mod access;
mod adaptive;
mod application;
mod bfd;
mod cluster;
mod engines;
mod links;
mod mirror;
mod shadow;
mod tunnels;
mod vrrp;

use super::problem::Problem;
use super::types::Name;
use super::{Config, Names, suggest};
use std::collections::BTreeMap;

/// Records every contradiction.
pub fn check(config: &Config, names: &Names, problems: &mut Vec<Problem>) {
    let mut check = Check { config, names, problems };
    links::check(&mut check);
    engines::check(&mut check);
    tunnels::check(&mut check);
    adaptive::check(&mut check);
    bfd::check(&mut check);
    application::check(&mut check);
    access::check(&mut check);
    cluster::check(&mut check);
    mirror::check(&mut check);
    shadow::check(&mut check);
    vrrp::check(&mut check);
}

struct Check<'a> {
    config: &'a Config,
    names: &'a Names,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn wrong(&mut self, path: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem::new(path, what, remedy));
    }

    /// `name` must be that of a `[[kind]]`.
    fn refers(&mut self, path: impl Into<String>, kind: &str, name: &Name) {
        let known: Vec<&str> = self.names[kind].iter().map(String::as_str).collect();
        if !known.contains(&name.as_str()) {
            let remedy = suggest::remedy(name.as_str(), kind, &known);
            self.wrong(path, format!("there is no {kind} \"{name}\""), remedy);
        }
    }

    /// Of things that must differ, the later ones that do not. `things` are the path of the array's
    /// elements, the key, and each element's index and value.
    fn unique<T: Ord + std::fmt::Display>(
        &mut self,
        kind: &str,
        key: &str,
        things: impl Iterator<Item = (usize, T)>,
        remedy: &str,
    ) {
        let mut first = BTreeMap::new();
        for (index, thing) in things {
            match first.get(&thing) {
                Some(at) => {
                    let what = format!("{thing} is already that of {kind}[{at}]");
                    self.wrong(format!("{kind}[{index}].{key}"), what, remedy);
                }
                None => {
                    first.insert(thing, index);
                }
            }
        }
    }
}
