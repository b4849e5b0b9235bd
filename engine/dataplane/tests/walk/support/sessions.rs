//! WireGuard's keys, as if a handshake had agreed on them.

use super::Engine;
use dataplane::id::{Nanos, TunnelId};
use dataplane::message::Command;
use dataplane::packet::{PacketPool, Port};
use dataplane::sa::{Algorithm, AwsLc, SaKey};
use dataplane::snapshot::{Encapsulation, WireGuard};
use dataplane::wireguard::{AllowedIps, Receiver, Role, Session, SessionParts};
use std::sync::Arc;

/// Between the ports where nothing else is configured.
pub const WIREGUARD: Encapsulation =
    Encapsulation::WireGuard(WireGuard { local_port: 51_820, remote_port: 51_820 });

/// The first hosts of all LANs and VLANs, and the WAN.
fn allowed() -> Arc<AllowedIps> {
    let sites =
        [1, 2, 101, 102].map(|site| [format!("10.{site}.0.0/26"), format!("2001:db8:{site:x}::/122")]);
    let wan = ["192.0.2.0/24", "2001:db8:ffff::/48"].map(str::to_owned);
    let nets: Vec<_> = sites.concat().iter().chain(&wan).map(|net| net.parse().unwrap()).collect();
    Arc::new(AllowedIps::new(&nets))
}

/// Handshake `number` of the tunnel that both call `tunnel`, good until `over`: `a` asked for it, and both have the keys.
/// What the workers are to be told, in this order: `b` first.
pub fn agreed(tunnel: TunnelId, number: u16, over: Nanos) -> (Command, Command) {
    let key = |byte: u16| {
        let mut keymat = [byte as u8; 36];
        keymat[32..].fill(0);
        SaKey::new(&AwsLc, Algorithm::ChaCha20Poly1305, &keymat).unwrap()
    };
    // Numbers of the two ends differ.
    let (at_a, at_b) = (Receiver::new(tunnel, number), Receiver::new(tunnel, number + 0x100));
    let end = |local, remote: Receiver, sending, receiving, role| {
        let (sending, receiving, allowed) = (key(sending), key(receiving), allowed());
        let parts = SessionParts { local, remote: remote.0, sending, receiving, over, allowed };
        Command::InstallSession(Box::new(Session::new(parts)), role)
    };
    let (out, back) = (2 * number, 2 * number + 1);
    let for_b = end(at_b, at_a, back, out, Role::Responder);
    (for_b, end(at_a, at_b, out, back, Role::Initiator))
}

/// Both have keys for good, and know it.
pub fn agree<Q: Port + Clone, A: PacketPool<Packet = Q::Packet>>(
    a: &mut Engine<Q, A>,
    b: &mut Engine<Q, A>,
    tunnel: TunnelId,
) {
    let (for_b, for_a) = agreed(tunnel, 1, Nanos::MAX);
    let Command::InstallSession(session, _) = for_b else { unreachable!("it is a session") };
    b.command(0, Command::InstallSession(session, Role::Initiator));
    a.command(0, for_a);
    b.poll();
    a.poll();
}
