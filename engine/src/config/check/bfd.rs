//! What `[[bfd]]` says of interfaces and tunnels.

use super::Check;
use crate::config::model::Bfd;
use crate::config::underlay;

pub(super) fn check(c: &mut Check<'_>) {
    let config = c.config;
    let names = config.bfd.iter().map(|bfd| (bfd.index, &bfd.name));
    c.unique("bfd", "name", names, "give each session a name of its own");
    let remotes = config.bfd.iter().map(|bfd| (bfd.index, bfd.remote));
    c.unique("bfd", "remote", remotes, "one session watches a neighbour for all tunnels: name them there");
    for bfd in &config.bfd {
        session(c, bfd);
    }
    let workers = config.dpdk.cores.len();
    if workers > 1
        && let Some(first) = config.bfd.first()
    {
        let what = format!(
            "{workers} workers: the neighbour's packets may come to one that does not run the session"
        );
        c.wrong(format!("bfd[{}]", first.index), what, "name one core in dpdk.cores");
    }
}

fn session(c: &mut Check<'_>, bfd: &Bfd) {
    let at = |key: &str| format!("bfd[{}].{key}", bfd.index);
    c.refers(at("interface"), "interface", &bfd.interface);
    for tunnel in &bfd.tunnels {
        c.refers(at("tunnels"), "tunnel", tunnel);
    }
    let Some(interface) = c.config.interfaces.iter().find(|i| i.name == bfd.interface) else { return };
    if interface.addresses.iter().any(|net| net.addr() == bfd.remote) {
        c.wrong(at("remote"), format!("{} is our own address", bfd.remote), "write the neighbour's");
    } else if underlay::address_towards(interface, bfd.remote).is_none() {
        match bfd.multihop {
            None => {
                let what = format!("{} is not on a prefix of interface \"{}\"", bfd.remote, interface.name);
                let remedy = "write an address of the link, as the session is a single hop (RFC 5881), or multihop = true";
                c.wrong(at("remote"), what, remedy);
            }
            Some(_) if underlay::address_like(interface, bfd.remote).is_none() => {
                let what = format!(
                    "interface \"{}\" has no address of the version of {}",
                    interface.name, bfd.remote
                );
                c.wrong(at("interface"), what, "name the interface whose address the other end knows us by");
            }
            Some(_) => {}
        }
    } else if bfd.multihop.is_some() {
        let what = format!("{} is on interface \"{}\": one hop away", bfd.remote, interface.name);
        c.wrong(at("multihop"), what, "remove it");
    }
}
