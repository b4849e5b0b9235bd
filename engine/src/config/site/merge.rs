//! A site's text over an engine's file, table by table.

use super::{Document, SiteClass, SiteGroup, SiteShaper};
use crate::config::problem::Problem;
use ipnet::IpNet;
use std::collections::BTreeSet;
use toml::{Table, Value};

/// Both together, not validated yet.
pub struct Merge {
    /// As a file would be that says it all.
    pub table: Table,
    /// How many of its routes are the text's: the first ones.
    pub routes: usize,
    /// What of the text has nothing to lie over.
    pub problems: Vec<Problem>,
}

impl Merge {
    /// Lays `document` over `own`.
    pub fn new(own: &Table, document: &Document) -> Merge {
        let mut merge = Merge { table: own.clone(), routes: 0, problems: Vec::new() };
        merge.take_routes(document);
        if let Some(acl) = document.table.get("acl") {
            merge.table.insert("acl".to_owned(), acl.clone());
        }
        if let Some(prediction) = document.table.get("prediction").and_then(Value::as_table) {
            let own = merge.table.entry("prediction").or_insert_with(|| Table::new().into());
            if let Some(own) = own.as_table_mut() {
                own.extend(prediction.clone());
            }
        }
        for group in &document.groups {
            merge.take_group(document, group);
        }
        merge
    }

    /// The text's routes, then the file's own ways out.
    fn take_routes(&mut self, document: &Document) {
        let Some(theirs) = document.table.get("route").and_then(Value::as_array) else { return };
        let taken: BTreeSet<IpNet> = document.routes.iter().map(|route| route.prefix.trunc()).collect();
        let own = self.table.get("route").and_then(Value::as_array).cloned().unwrap_or_default();
        let stays = |route: &Value| {
            let prefix = route.get("prefix").and_then(Value::as_str).and_then(|p| p.parse::<IpNet>().ok());
            route.get("via").is_some() && prefix.is_none_or(|prefix| !taken.contains(&prefix.trunc()))
        };
        let all: Vec<Value> = theirs.iter().cloned().chain(own.into_iter().filter(stays)).collect();
        self.routes = theirs.len();
        self.table.insert("route".to_owned(), all.into());
    }

    fn take_group(&mut self, document: &Document, group: &SiteGroup) {
        let path = format!("group[{}]", group.index);
        let written = document.table["group"].get(group.index).and_then(Value::as_table);
        let own = elements(&mut self.table, "group").find(|own| named(own, group.name.as_str()));
        let (Some(own), Some(written)) = (own, written) else {
            let what = format!("there is no group \"{}\"", group.name);
            let remedy = "name a [[group]] that the engines' files have";
            self.problems.push(Problem::new(format!("{path}.name"), what, remedy));
            return;
        };
        for key in ["sla_weight", "mss_clamp"] {
            if let Some(value) = written.get(key) {
                own.insert(key.to_owned(), value.clone());
            }
        }
        let members = own.get("members").and_then(Value::as_array).into_iter().flatten();
        let members: BTreeSet<String> = members.filter_map(|name| Some(name.as_str()?.to_owned())).collect();
        for shaper in &group.shapers {
            self.take_shaper(&format!("{path}.shaper[{}]", shaper.index), &members, shaper);
        }
    }

    fn take_shaper(&mut self, path: &str, members: &BTreeSet<String>, wanted: &SiteShaper) {
        let tunnels = elements(&mut self.table, "tunnel").filter(|tunnel| {
            let is = |key: &str| tunnel.get(key).and_then(Value::as_str);
            let spoken = |protocol: &super::ProtocolName| is("protocol") == Some(protocol.as_str());
            is("name").is_some_and(|name| members.contains(name))
                && wanted.protocol.as_ref().is_none_or(spoken)
        });
        let shapers: Vec<&mut Table> =
            tunnels.filter_map(|tunnel| tunnel.get_mut("shaper")?.as_table_mut()).collect();
        if shapers.is_empty() {
            let what = "no tunnel of the group has a shaper that this is about";
            let remedy = "write [tunnel.shaper] in the engines' files and start them again";
            self.problems.push(Problem::new(path, what, remedy));
        }
        for shaper in shapers {
            if let Some(rate) = wanted.rate {
                shaper.insert("rate_kbps".to_owned(), Value::Integer(rate.get() as i64));
            }
            for class in &wanted.classes {
                if !take_class(shaper, class) {
                    let what =
                        format!("a tunnel's shaper has no class \"{}\" with a rate of its own", class.name);
                    let remedy = "name one that has rate_kbps in the engines' files";
                    let path = format!("{path}.class[{}].name", class.index);
                    self.problems.push(Problem::new(path, what, remedy));
                }
            }
        }
    }
}

/// False if there is no such class, or none whose rate could change.
fn take_class(shaper: &mut Table, wanted: &SiteClass) -> bool {
    let class = elements(shaper, "class").find(|class| named(class, wanted.name.as_str()));
    let Some(rate) = class.and_then(|class| class.get_mut("rate_kbps")) else { return false };
    *rate = Value::Integer(wanted.rate.get() as i64);
    true
}

fn named(table: &Table, name: &str) -> bool {
    table.get("name").and_then(Value::as_str) == Some(name)
}

/// The tables of an array of tables.
fn elements<'a>(table: &'a mut Table, key: &str) -> impl Iterator<Item = &'a mut Table> {
    table.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_table_mut)
}
