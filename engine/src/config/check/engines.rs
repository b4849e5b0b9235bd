//! Peers, the pair, the witness and their control connections.

use super::Check;
use crate::config::model::Peer;
use crate::config::types::{Name, WithoutWitness};

pub fn check(c: &mut Check<'_>) {
    if c.config.control.is_some() {
        certificate_names(c);
    }
    peers(c);
    pair(c);
    let config = c.config;
    let needs_control = if config.ha.is_some() {
        Some("[ha] is there")
    } else {
        config
            .tunnels
            .iter()
            .any(|t| t.protocol.esp().is_some_and(|esp| esp.static_sa.is_none()))
            .then_some("an esp tunnel is there")
    };
    if let Some(why) = needs_control.filter(|_| config.control.is_none()) {
        let remedy = "write a [control] section with listen, ca, cert and key; `foreshift pki` makes a lab's";
        c.wrong("control", format!("is missing, but {why}"), remedy);
    }
    for (i, site) in config.control.iter().flat_map(|control| &control.votes_for).enumerate() {
        let path = format!("control.votes_for[{i}]");
        if *site == config.engine.site {
            c.wrong(
                path,
                format!("\"{site}\" is this engine's own site"),
                "a witness belongs to another site; remove it",
            );
        } else if !config.peers.iter().any(|peer| peer.site == *site) {
            let what = format!("no peer is of site \"{site}\"");
            c.wrong(path, what, "add the engines of that site as [[peer]]");
        }
    }
}

/// Engines are known to each other by the names in their certificates.
fn certificate_names(c: &mut Check<'_>) {
    let own = ("engine.name".to_owned(), &c.config.engine.name);
    let peers = c.config.peers.iter().map(|peer| (format!("peer[{}].name", peer.index), &peer.name));
    for (path, name) in std::iter::once(own).chain(peers) {
        if crate::peer::check_name(name.as_str()).is_err() {
            let what = format!("\"{name}\" cannot stand in a certificate");
            c.wrong(path, what, "write lower-case letters, digits and '-', a letter first and no '-' last");
        }
    }
}

fn peers(c: &mut Check<'_>) {
    let config = c.config;
    c.unique("peer", "name", config.peers.iter().map(|p| (p.index, &p.name)), "name each peer once");
    c.unique(
        "peer",
        "address",
        config.peers.iter().filter_map(|p| Some((p.index, p.address?))),
        "each engine listens at its own",
    );
    for Peer { index, name, address, .. } in &config.peers {
        if *name == config.engine.name {
            let what = format!("\"{name}\" is this engine itself");
            c.wrong(format!("peer[{index}].name"), what, "name other engines only");
        }
        if let Some(address) = address
            && (address.port() == 0 || address.ip().is_unspecified())
        {
            let what = format!("{address} cannot be connected to");
            c.wrong(
                format!("peer[{index}].address"),
                what,
                "write the address and port in the peer's control.listen",
            );
        }
    }
}

fn pair(c: &mut Check<'_>) {
    let config = c.config;
    let Some(ha) = &config.ha else { return };
    if config.gateway.is_none() {
        let remedy = "write a [gateway] section with the addresses that move between the two engines";
        c.wrong("gateway", "is missing, but [ha] is there", remedy);
    }
    for (path, name) in [("ha.peer", Some(&ha.peer)), ("ha.witness", ha.witness.as_ref())] {
        if name.and_then(|name| find(c, name)).is_some_and(|peer| peer.address.is_none()) {
            let what = "a foreign peer knows nothing of leases";
            c.wrong(path, what, "name a Foreshift engine");
        }
    }
    c.refers("ha.peer", "peer", &ha.peer);
    if let Some(peer) = find(c, &ha.peer)
        && peer.site != config.engine.site
    {
        let what = format!(
            "\"{}\" is of site \"{}\", this engine of \"{}\"",
            peer.name, peer.site, config.engine.site
        );
        c.wrong("ha.peer", what, "name the other engine of this site");
    }
    let Some(witness) = &ha.witness else { return };
    c.refers("ha.witness", "peer", witness);
    if let Some(peer) = find(c, witness)
        && peer.site == config.engine.site
    {
        let what = format!("\"{}\" is of this same site and would fail with it", peer.name);
        c.wrong("ha.witness", what, "name an engine of another site, or remove it");
    }
    if ha.without_witness == WithoutWitness::DualActive {
        let what = "\"dual-active\" says what to do without a witness, but there is one";
        c.wrong("ha.without_witness", what, "remove it, or remove ha.witness");
    }
}

fn find<'a>(c: &Check<'a>, name: &Name) -> Option<&'a Peer> {
    c.config.peers.iter().find(|peer| peer.name == *name)
}
