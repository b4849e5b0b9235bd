//! Neighbours and other routers on an interface's link.

use control::vrrp::VrrpState;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A BFD session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BfdStatus {
    /// Its name.
    pub name: String,
    /// Where the neighbour is.
    pub interface: String,
    /// The neighbour.
    pub remote: IpAddr,
    /// `admin-down`, `down`, `init` or `up`.
    pub state: String,
    /// Why, in words.
    pub diagnostic: String,
    /// How often packets are sent and wanted, milliseconds.
    pub interval_ms: u64,
    /// Packets that may be missed.
    pub multiplier: u8,
    /// Tunnels that are down while it is.
    pub tunnels: Vec<String>,
}

/// The gateway's election for one IP version (RFC 9568), as this engine sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VrrpStatus {
    /// The gateway's interface.
    pub interface: String,
    /// The virtual router's number there.
    pub vrid: u8,
    /// What this engine advertises from; tells the IP version.
    pub local: IpAddr,
    /// `initialize` (does not stand: it does not own the site), `backup` or `active`.
    pub state: VrrpState,
    /// Its priority now.
    pub priority: u8,
    /// The gateway and its priority, where that is another router.
    pub other: Option<(IpAddr, u8)>,
}
