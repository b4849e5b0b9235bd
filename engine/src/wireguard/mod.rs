//! WireGuard's handshakes, for the sessions that the workers use ([`dataplane::wireguard`]). Sans-IO: messages come from
//! workers and go to them, time and randomness come from the caller.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod keys;
mod macs;
mod noise;
mod peer;
#[cfg(test)]
mod tests;

pub use peer::{Action, Activity, Now, Peer, PeerParts};

use anyhow::{Context as _, Result};
use aws_lc_rs::rand;
use dataplane::id::{Nanos, TunnelId};
use dataplane::message::Command;
use dataplane::sa::AeadProvider;
use dataplane::wire::wireguard::{Macs, Message};
use dataplane::wireguard::{Datagram, Punted, Receiver};
use keys::Identity;
use macs::Cookies;
use std::net::IpAddr;

/// How long after it had too much to do an end asks for cookies.
const LOADED: Nanos = Nanos::from_millis(1000);

/// All far ends of this engine.
#[derive(Default)]
pub struct WireGuard {
    /// Who we are, and what we ask under load.
    identities: Vec<(Identity, Cookies)>,
    peers: Vec<Peer>,
    /// Cookies are asked for until then.
    loaded: Nanos,
}

impl WireGuard {
    /// Those of `peers`, whose identities are in `identities`.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn new(identities: Vec<Identity>, peers: Vec<PeerParts>, now: Nanos) -> Result<WireGuard> {
        let with_cookies = |identity: Identity| {
            let cookies = Cookies::new(&identity.public(), now)?;
            Ok((identity, cookies))
        };
        let identities: Result<_, aws_lc_rs::error::Unspecified> =
            identities.into_iter().map(with_cookies).collect();
        let peers = peers.into_iter().map(|parts| Ok(Peer::new(parts, random()?))).collect::<Result<_>>()?;
        Ok(WireGuard {
            identities: identities.context("the system gives no randomness")?,
            peers,
            loaded: Nanos(0),
        })
    }

    /// The far end of a tunnel.
    pub fn peer(&mut self, tunnel: TunnelId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.parts().tunnel == tunnel)
    }

    /// All of them.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The session of a tunnel nears its end. False if it is none of these tunnels.
    pub fn wants_handshake(&mut self, tunnel: TunnelId) -> bool {
        self.peer(tunnel).map(Peer::want_handshake).is_some()
    }

    /// More messages come than are looked at: who does not show that it gets what is sent to its address waits.
    pub fn overloaded(&mut self, now: Nanos) {
        self.loaded = now.plus(LOADED);
    }

    /// What time brings.
    pub fn tick(&mut self, now: Now, activity: impl Fn(TunnelId) -> Activity, out: &mut Vec<Action>) {
        for peer in &mut self.peers {
            let (identity, _) = &self.identities[peer.parts().identity];
            peer.tick(identity, now, activity(peer.parts().tunnel), out);
        }
    }

    /// The worker has had a packet under a session that its far end asked for.
    pub fn confirmed(&mut self, receiver: Receiver, out: &mut Vec<Action>) {
        if let Some(peer) = self.peer(receiver.tunnel()) {
            peer.confirmed(receiver, out);
        }
    }

    /// A message has come. True if it was worth the work of a curve.
    pub fn received(
        &mut self,
        punted: &Punted,
        (now, provider): (Now, &dyn AeadProvider),
        out: &mut Vec<Action>,
    ) -> bool {
        let at = (now, provider);
        match Message::parse(&punted.message) {
            Ok(Message::Initiation(message)) => {
                let said = (message.body(), &message.macs, message.sender());
                let Some(identity) = self.admitted(punted, said, now.nanos, out) else { return false };
                if let Ok(accepted) = noise::accept(&self.identities[identity].0, &message.noise)
                    && let Some(peer) = self.peers.iter_mut().find(|peer| {
                        (peer.parts().identity, peer.parts().public) == (identity, accepted.initiator)
                    })
                {
                    peer.answer(accepted, message.sender(), punted.from, at, out);
                }
                true
            }
            Ok(Message::Response(message)) => {
                let said = (message.body(), &message.macs, message.sender());
                let Some(identity) = self.admitted(punted, said, now.nanos, out) else { return false };
                let peer = self.peer(Receiver(message.receiver()).tunnel());
                if let Some(peer) = peer.filter(|peer| peer.parts().identity == identity) {
                    peer.answered(message, punted.from, at, out);
                }
                true
            }
            Ok(Message::CookieReply(message)) => {
                if let Some(peer) = self.peer(Receiver(message.receiver()).tunnel()) {
                    peer.cookie(message, now.nanos);
                }
                false
            }
            Ok(Message::Data(_)) | Err(_) => false,
        }
    }

    /// Whom of us a message is for, if it is looked at further (§5.3): its sender knows us, and under load it has shown
    /// that it gets what is sent to its address. If it has not, it is told how.
    fn admitted(
        &mut self,
        punted: &Punted,
        (body, macs, sender): (&[u8], &Macs, u32),
        now: Nanos,
        out: &mut Vec<Action>,
    ) -> Option<usize> {
        let place = self.identities.iter().position(|(_, cookies)| cookies.knows(body, macs))?;
        let cookies = &mut self.identities[place].1;
        if now >= self.loaded || cookies.is_reachable(body, macs, punted.from, now) {
            return Some(place);
        }
        let reply = cookies.reply(sender, macs, punted.from, now).ok()?;
        out.push(send(punted.to, punted.from, reply.bytes()));
        None
    }
}

fn send(from: (IpAddr, u16), to: (IpAddr, u16), message: &[u8]) -> Action {
    let message = message.try_into().expect("no message is longer than the first");
    Action::Worker(Command::Send(Box::new(Datagram { from, to, message })))
}

fn random() -> Result<u16> {
    let mut number = [0; 2];
    rand::fill(&mut number).context("the system gives no randomness")?;
    Ok(u16::from_ne_bytes(number))
}
