//! Path MTUs that routers on the way to a tunnel's far end have told (RFC 1191, RFC 8201).

use super::forwarding::Forwarding;
use dataplane::id::{Nanos, TunnelId};
use dataplane::tunnel::inner_mtu;
use std::collections::BTreeMap;

/// A smaller path MTU is believed for this long, then the full one is tried again (RFC 1191 §6.3).
const LIFETIME: Nanos = Nanos::from_millis(600_000);
/// No IPv4 path is smaller than this where tunnels make sense; nobody can talk us below it (RFC 1191 §3 names 68, which
/// would let one forged message stop a tunnel).
const LEAST_V4: u16 = 576;
/// RFC 8200 §5.
const LEAST_V6: u16 = 1280;

/// Tunnels whose MTU is below the configured one.
#[derive(Default)]
pub struct PathMtus {
    learnt: BTreeMap<TunnelId, (u16, Nanos)>,
}

impl PathMtus {
    /// A router carries outer packets of at most `mtu` bytes.
    pub fn learn(&mut self, id: TunnelId, mtu: u16, now: Nanos, forwarding: &mut Forwarding) {
        let tunnel = &forwarding.tunnels()[id.index()];
        let least = if tunnel.remote.is_ipv4() { LEAST_V4 } else { LEAST_V6 };
        let inner = inner_mtu(mtu.max(least), tunnel.encapsulation, tunnel.remote.is_ipv4());
        let (configured, current) = (self.learnt.get(&id).map_or(tunnel.mtu, |&(mtu, _)| mtu), tunnel.mtu);
        if inner < current {
            self.learnt.insert(id, (configured, now.plus(LIFETIME)));
            tracing::info!(tunnel = %id, mtu = inner, "path MTU lowered");
            forwarding.set_mtu(id, inner);
        }
    }

    /// Tunnels whose inner MTU is lowered, and to how much.
    pub fn lowered(&self, forwarding: &Forwarding) -> Vec<(TunnelId, u16)> {
        self.learnt.keys().map(|&id| (id, forwarding.tunnels()[id.index()].mtu)).collect()
    }

    /// Another process has learnt that a tunnel's inner MTU is no more than this.
    pub fn resume(&mut self, id: TunnelId, mtu: u16, now: Nanos, forwarding: &mut Forwarding) {
        let configured = forwarding.tunnels()[id.index()].mtu;
        if mtu < configured {
            self.learnt.insert(id, (configured, now.plus(LIFETIME)));
            forwarding.set_mtu(id, mtu);
        }
    }

    /// Forgets what is old.
    pub fn tick(&mut self, now: Nanos, forwarding: &mut Forwarding) {
        self.learnt.retain(|&id, &mut (configured, until)| {
            let keep = now < until;
            if !keep {
                forwarding.set_mtu(id, configured);
            }
            keep
        });
    }
}
