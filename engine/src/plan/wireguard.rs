//! What will run of WireGuard.

use crate::config::wireguard::PublicKey;
use crate::config::{Config, model};
use dataplane::wireguard::AllowedIps;
use ipnet::IpNet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Who the two ends of a tunnel are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireGuardPlan {
    /// Our private key.
    pub private_key_file: PathBuf,
    /// The far end's public key.
    pub public_key: PublicKey,
    /// The key that both have beforehand.
    pub preshared_key_file: Option<PathBuf>,
    /// The sources that the far end may use inside.
    pub allowed: Arc<AllowedIps>,
    /// The far end is never left without a packet for longer.
    pub keepalive: Option<Duration>,
    /// A session that we began is replaced at this age.
    pub rekey: Duration,
}

impl WireGuardPlan {
    /// That of `tunnel`, if it is WireGuard's.
    pub fn of(config: &Config, tunnel: &model::Tunnel) -> Option<WireGuardPlan> {
        let model::Protocol::WireGuard(wireguard) = &tunnel.protocol else { return None };
        let mut allowed = wireguard.allowed_ips.clone();
        // Probes of our own kind come from the far end itself.
        let ours = |peer: &model::Peer| peer.name == tunnel.peer && peer.address.is_some();
        allowed.extend(config.peers.iter().any(ours).then(|| IpNet::from(tunnel.remote)));
        Some(WireGuardPlan {
            private_key_file: wireguard.private_key_file.clone(),
            public_key: wireguard.public_key,
            preshared_key_file: wireguard.preshared_key_file.clone(),
            allowed: Arc::new(AllowedIps::new(&allowed)),
            keepalive: wireguard.keepalive_seconds.map(|seconds| Duration::from_secs(seconds.get())),
            rekey: Duration::from_secs(wireguard.rekey_seconds.get()),
        })
    }
}
