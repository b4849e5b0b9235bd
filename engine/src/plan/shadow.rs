//! Who holds whose sessions, as the runtime wants it, and the SAs that may move.

use crate::config::Config;
use crate::config::model::{self, Protocol};
use crate::config::types::Name;
use crate::epochs::Lane;
use dataplane::id::{Spi, TunnelId};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `[shadow]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowPlan {
    /// Where other engines bring their sessions.
    pub listen: SocketAddr,
    /// Who holds this engine's: names and addresses.
    pub to: Vec<(String, SocketAddr)>,
    /// Whose it holds.
    pub from: Vec<String>,
    /// Sessions of flows are shadowed.
    pub flows: bool,
    /// Static SAs of the site are.
    pub sas: bool,
}

impl ShadowPlan {
    /// The plan of a configuration, if anything is shadowed.
    pub fn from_config(config: &Config) -> Option<ShadowPlan> {
        let (shadow, control) = (config.shadow.as_ref()?, config.control.as_ref()?);
        let port = shadow.port.get() as u16;
        let partner = || config.ha.iter().map(|ha| ha.peer.clone()).collect::<Vec<Name>>();
        let address = |name: &Name| {
            let peer = config.peers.iter().find(|peer| peer.name == *name)?;
            Some((name.to_string(), SocketAddr::new(peer.address?.ip(), port)))
        };
        Some(ShadowPlan {
            listen: SocketAddr::new(control.listen.ip(), port),
            to: shadow.to.clone().unwrap_or_else(partner).iter().filter_map(address).collect(),
            from: shadow.from.clone().unwrap_or_else(partner).iter().map(Name::to_string).collect(),
            flows: shadow.flows && config.sessions.is_some(),
            sas: shadow.sas,
        })
    }
}

/// The way to the other engine of the site, for a group whose SAs the owner of the site has.
pub fn to_owner(config: &Config, group: &model::Group) -> Option<TunnelId> {
    let of_owner = |tunnel: &model::Tunnel| {
        let of_gateway =
            config.gateway.as_ref().is_some_and(|gateway| gateway.addresses.contains(&tunnel.local));
        of_gateway && tunnel.protocol.static_sa().is_some()
    };
    let members = || config.tunnels.iter().filter(|tunnel| group.members.contains(&tunnel.name));
    let way = |tunnel: &model::Tunnel| tunnel.protocol == Protocol::Direct;
    let way = config.tunnels.iter().position(way).filter(|_| members().all(of_owner))?;
    Some(TunnelId(way as u16))
}

/// SAs agreed on with a foreign peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticSaPlan {
    /// What arrives bears this.
    pub spi_in: Spi,
    /// What leaves bears this.
    pub spi_out: Spi,
    /// Key and salt of what arrives.
    pub key_file_in: PathBuf,
    /// Key and salt of what leaves.
    pub key_file_out: PathBuf,
    /// Where it is written down which nonces are used up.
    pub state_folder: PathBuf,
    /// Of a tunnel that belongs to the owner of the site: this engine's epochs.
    pub site: Option<Lane>,
}

/// Which of the engines of this site this one is, and how many there are: what both may give out at one time is parted so.
pub fn part_of_site(config: &Config) -> (u16, u16) {
    match &config.ha {
        Some(ha) if config.shadow.is_some() => (u16::from(ha.peer.as_str() < config.engine.name.as_str()), 2),
        _ => (0, 1),
    }
}
