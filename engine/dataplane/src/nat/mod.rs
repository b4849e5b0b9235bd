//! NAT44 as an option of a session: the source behind a pool (masquerade), fixed destinations (port forwarding).
//!
//! What it does is written down in the session's key: `forward` is what the initiator sends, `reverse` what the
//! responder answers, so a packet of either direction is to look like the other one reversed. Destinations are
//! rewritten before the route is looked up, sources after it, so that errors about a packet on its way go to
//! whom sent it.
//!
//! Choices (RFC 4787 §4, §5; RFC 5382; RFC 5508):
//! - Mapping is endpoint-independent (REQ-1): one inside endpoint has one outside endpoint, whomever it talks
//!   to, as long as one of its sessions lives.
//! - [`Filtering`] is configured: address and port dependent, or endpoint-independent (REQ-8).
//! - An inside address keeps to one pool address as long as that has ports ("paired", REQ-2).
//! - Ports are chosen at random among the free ones (RFC 6056 §3.3.1), not preserved, without regard to parity.
//! - Two inside hosts may meet at outside addresses (hairpinning, REQ-9).
//! - Each worker has its own share of the ports of each pool address ([`PortShare`]), and no state is shared: an
//!   answer belongs to the worker whose share its destination port is in.
//! - Only TCP, UDP and ICMP queries are translated, and of a datagram in fragments no fragment: only the first has
//!   ports. ICMP errors are translated with what they quote (RFC 5508 §4).

mod ports;
mod rewrite;

#[cfg(test)]
mod tests;

pub use ports::{Exhausted, Kind, PortPool, PortShare};
pub use rewrite::{End, rewrite, rewrite_error};

use crate::flow::{AnyTuple, Flow, HashKeys, SessionKey, Tuple, Upper};
use crate::wire::Protocol;
use ipnet::Ipv4Net;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// An address with a port, or with the identifier of an ICMP query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address.
    pub address: Ipv4Addr,
    /// Port or identifier.
    pub port: u16,
}

/// Who may send to an outside endpoint (RFC 4787 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// Whom its inside host has sent to, from the port it sent to.
    #[default]
    AddressAndPortDependent,
    /// Everyone.
    EndpointIndependent,
}

/// What is translated.
#[derive(Clone, Debug, Default)]
pub struct NatConfig {
    /// Sources that are translated …
    pub inside: Vec<Ipv4Net>,
    /// … unless they send to one of these; inside prefixes are always among them.
    pub exempt: Vec<Ipv4Net>,
    /// Addresses they get.
    pub pool: Vec<Ipv4Addr>,
    /// Who may answer.
    pub filtering: Filtering,
    /// Port forwarding: outside → inside, for TCP and UDP.
    pub forwards: FxHashMap<(Kind, Endpoint), Endpoint>,
}

/// Why a flow that should be translated is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NatError {
    /// It shows no ports: a fragment, or cut off.
    #[error("a fragment shows no ports")]
    Fragment,
    /// A protocol without ports.
    #[error("a protocol that cannot be translated")]
    Protocol,
    /// No port is free.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
}

/// NAT on one worker.
pub struct Nat {
    config: NatConfig,
    ports: PortPool,
}

impl Nat {
    /// NAT with no mapping yet. All memory is allocated here.
    pub fn new(config: NatConfig, share: PortShare, keys: HashKeys, seed: u64) -> Nat {
        let reserved = config.forwards.keys().copied();
        let ports = PortPool::new(&config.pool, share, reserved, keys, seed);
        Nat { config, ports }
    }

    /// The key of the session that begins with a packet of `flow`; `None` if it is not to be translated. A mapping it
    /// uses is held until [`Nat::release`]. What is for this engine itself, `local`, is translated if it is for somebody
    /// behind it only.
    pub fn translate(&mut self, flow: &Flow, local: bool) -> Result<Option<SessionKey>, NatError> {
        let AnyTuple::V4(forward) = flow.tuple else { return Ok(None) };
        let outbound = self.is_outbound(forward.src, forward.dst);
        let inbound = self.config.pool.contains(&forward.dst) || self.forwards_to(forward.dst);
        if !outbound && !inbound {
            return Ok(None);
        }
        let kind = match (Protocol(forward.protocol), flow.upper) {
            (_, Upper::Hidden) => Err(NatError::Fragment),
            (Protocol::TCP, _) => Ok(Kind::Tcp),
            (Protocol::UDP, _) => Ok(Kind::Udp),
            (Protocol::ICMP, Upper::Query { .. }) => Ok(Kind::Query),
            _ => Err(NatError::Protocol),
        };
        let kind = match kind {
            Ok(kind) => kind,
            Err(error) => return if outbound && !local { Err(error) } else { Ok(None) },
        };
        let dst = Endpoint { address: forward.dst, port: forward.dst_port };
        let new_dst = if inbound { self.inside_of(kind, dst, outbound) } else { None };
        if (!outbound || local) && new_dst.is_none() {
            return Ok(None);
        }
        let src = Endpoint { address: forward.src, port: forward.src_port };
        let new_src = if outbound {
            match self.ports.acquire(kind, src) {
                Ok(new_src) => new_src,
                Err(exhausted) => {
                    new_dst.inspect(|_| self.ports.release(kind, dst));
                    return Err(exhausted.into());
                }
            }
        } else {
            src
        };
        let new_dst = new_dst.unwrap_or(dst);
        let reverse = reply(forward.protocol, kind, new_src, new_dst);
        Ok(Some(SessionKey::V4 { forward, reverse }))
    }

    fn is_outbound(&self, src: Ipv4Addr, dst: Ipv4Addr) -> bool {
        let holds = |nets: &[Ipv4Net], ip| nets.iter().any(|net: &Ipv4Net| net.contains(&ip));
        let NatConfig { inside, exempt, .. } = &self.config;
        holds(inside, src) && !holds(inside, dst) && !holds(exempt, dst)
    }

    fn forwards_to(&self, address: Ipv4Addr) -> bool {
        self.config.forwards.keys().any(|(_, outside)| outside.address == address)
    }

    /// Where a packet to the outside endpoint `dst` goes. A mapping is held for it.
    fn inside_of(&mut self, kind: Kind, dst: Endpoint, hairpin: bool) -> Option<Endpoint> {
        if let Some(&inside) = self.config.forwards.get(&(kind, dst)) {
            return Some(inside);
        }
        // Queries are answered, not begun, from outside: what answers them is the session of the query.
        let open = self.config.filtering == Filtering::EndpointIndependent || hairpin;
        let open = open && kind != Kind::Query;
        if open { self.ports.join(kind, dst) } else { None }
    }

    /// Lets go of what the session of `key` held.
    pub fn release(&mut self, key: &SessionKey) {
        let Some(Held { kind, source, destination }) = self.held(key) else { return };
        if let Some((_, outside)) = source {
            self.ports.release(kind, outside);
        }
        if let Some((_, outside)) = destination {
            self.ports.release(kind, outside);
        }
    }

    /// Holds what the session of `key`, which another engine has translated, would hold here. False, and nothing is held,
    /// if that is not to be had: a port that somebody else has, or an address that is not in the pool.
    pub fn claim(&mut self, key: &SessionKey) -> bool {
        let Some(Held { kind, source, destination }) = self.held(key) else { return false };
        if let Some((inside, outside)) = source
            && !self.ports.claim(kind, inside, outside)
        {
            return false;
        }
        if let Some((inside, outside)) = destination
            && !self.ports.claim(kind, inside, outside)
        {
            source.iter().for_each(|&(_, outside)| self.ports.release(kind, outside));
            return false;
        }
        true
    }

    /// The mappings that the session of `key` holds, each as its inside and its outside endpoint.
    fn held(&self, key: &SessionKey) -> Option<Held> {
        let SessionKey::V4 { forward, reverse } = key else { return None };
        let kind = match Protocol(forward.protocol) {
            Protocol::TCP => Kind::Tcp,
            Protocol::UDP => Kind::Udp,
            Protocol::ICMP => Kind::Query,
            _ => return None,
        };
        let src = Endpoint { address: forward.src, port: forward.src_port };
        let new_src = Endpoint { address: reverse.dst, port: reverse.dst_port };
        let dst = Endpoint { address: forward.dst, port: forward.dst_port };
        let new_dst = Endpoint { address: reverse.src, port: reverse.src_port };
        // The identifier of a query is in both places: it says nothing of the destination.
        let moved = dst.address != new_dst.address || kind != Kind::Query && dst.port != new_dst.port;
        let fixed = self.config.forwards.contains_key(&(kind, dst));
        Some(Held {
            kind,
            source: (src != new_src).then_some((src, new_src)),
            destination: (moved && !fixed).then_some((new_dst, dst)),
        })
    }

    /// Outside ports in use, and all.
    pub fn usage(&self) -> (usize, usize) {
        self.ports.usage()
    }

    /// Memory, bytes.
    pub fn bytes(&self) -> usize {
        self.ports.bytes()
    }
}

/// Mappings, from inside to outside.
struct Held {
    kind: Kind,
    source: Option<(Endpoint, Endpoint)>,
    destination: Option<(Endpoint, Endpoint)>,
}

/// What the responder answers to what leaves here from `src` to `dst`.
fn reply(protocol: u8, kind: Kind, src: Endpoint, dst: Endpoint) -> Tuple<Ipv4Addr> {
    // The identifier of a query is in both places, and the initiator's counts.
    let src_port = if kind == Kind::Query { src.port } else { dst.port };
    Tuple { src: dst.address, dst: src.address, src_port, dst_port: src.port, protocol }
}

/// The source and destination that a packet of a session is to have when it leaves: as the other direction, reversed.
pub fn outgoing(key: &SessionKey, forward: bool) -> Option<(Endpoint, Endpoint)> {
    let SessionKey::V4 { forward: there, reverse: back } = key else { return None };
    let other = if forward { back } else { there };
    let src = Endpoint { address: other.dst, port: other.dst_port };
    Some((src, Endpoint { address: other.src, port: other.src_port }))
}
