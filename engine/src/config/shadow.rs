//! `[shadow]`: other engines that hold this one's sessions, and whose sessions it holds.

use super::section::{Read, Section};
use super::types::Name;
use super::value::Whole;

/// `[shadow]`
#[derive(Clone, Debug, PartialEq)]
pub struct Shadow {
    /// Where sessions are brought, at the address of the control connections of either engine.
    pub port: Whole<1, 65_535>,
    /// Who holds this engine's sessions; the other engine of the site if absent.
    pub to: Option<Vec<Name>>,
    /// Whose sessions it holds; the other engine of the site if absent.
    pub from: Option<Vec<Name>>,
    /// Sessions of flows, with their NAT bindings.
    pub flows: bool,
    /// Static SAs of tunnels that belong to the owner of the site.
    pub sas: bool,
}

impl Read for Shadow {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Shadow> {
        let port = s.or("port", Whole::constant::<7001>());
        let (to, from) = (s.optional::<Vec<Name>>("to"), s.optional::<Vec<Name>>("from"));
        for (key, names) in [("to", &to), ("from", &from)] {
            if names.as_ref().is_some_and(|names| names.len() > 15) {
                s.wrong(key, "names more than 15 engines", "name 15 at most");
            }
        }
        Some(Shadow { port, to, from, flows: s.or("flows", true), sas: s.or("sas", true) })
    }
}
