//! What `[shadow]` says of itself and of other sections.

use super::Check;
use crate::config::types::Name;

pub fn check(c: &mut Check<'_>) {
    let Some(shadow) = &c.config.shadow else { return };
    let config = c.config;
    let Some(control) = &config.control else {
        let remedy = "write a [control] section with listen, ca, cert and key: its certificates are used";
        return c.wrong("control", "is missing, but [shadow] is there", remedy);
    };
    if u64::from(control.listen.port()) == shadow.port.get() {
        let what = format!("{} is the port of control.listen", shadow.port.get());
        c.wrong("shadow.port", what, "write another one, such as 7001");
    }
    if control.listen.ip().is_unspecified() {
        let what = "sessions would be taken at every address of this machine";
        c.wrong("shadow", what, "write the address of the management network in control.listen");
    }
    for (key, names) in [("to", &shadow.to), ("from", &shadow.from)] {
        match names {
            Some(names) => engines(c, key, names),
            None if config.ha.is_none() => {
                let what = "is missing, and there is no [ha] that would say so";
                c.wrong(format!("shadow.{key}"), what, format!("name engines in {key}, or none: {key} = []"));
            }
            None => {}
        }
    }
    let flows = shadow.flows && config.sessions.is_some();
    if !flows && !shadow.sas {
        let what = "neither sessions (flows, [sessions]) nor SAs (sas): there is nothing to shadow";
        c.wrong("shadow.flows", what, "write a [sessions] section, or remove [shadow]");
    }
}

fn engines(c: &mut Check<'_>, key: &str, names: &[Name]) {
    let config = c.config;
    for (i, name) in names.iter().enumerate() {
        let path = format!("shadow.{key}[{i}]");
        c.refers(path.clone(), "peer", name);
        if names[..i].contains(name) {
            c.wrong(path.clone(), format!("\"{name}\" is named already"), "name each engine once");
        }
        if config.peers.iter().any(|peer| peer.name == *name && peer.address.is_none()) {
            c.wrong(path, "a foreign peer holds no sessions", "name a Foreshift engine");
        }
    }
}
