//! A worker that nothing leaves: what this engine would do with a packet, by its own tables.

use super::copy::{Copied, Fate, Ingress};
use super::dry::{DryPacket, DryPool, DryPort};
use super::session::{Source, of_all};
use crate::batch::Slot;
use crate::context::Meta;
use crate::id::{Nanos, Spi, TunnelId, WorkerId};
use crate::links::{ControlLinks, connect};
use crate::message::Command;
use crate::sa::{Algorithm, AwsLc, Limits, OutboundSa, SaKey};
use crate::snapshot::{Encapsulation, Snapshot, Tables};
use crate::stage::access::Sessions;
use crate::stage::parse;
use crate::telemetry::Counters;
use crate::worker::{Clock, Worker, WorkerParts};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use sync::ring::{Producer, ring};

/// What a shadow is made of. No port, and no key: it has ports that lead nowhere, and makes its keys itself.
pub struct ShadowParts<C: Clock> {
    /// Its clock.
    pub clock: C,
    /// This engine's tables.
    pub snapshot: Snapshot,
    /// Sessions of its own, where they are kept.
    pub sessions: Option<Box<Sessions>>,
    /// How many ports the tables speak of.
    pub ports: usize,
}

/// What a shadow did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Where its way ended.
    pub fate: Fate,
    /// It knew a session of the packet's flow when it came.
    pub in_session: bool,
    /// How long that took, of one that would have been sent.
    pub residence: Option<Nanos>,
}

/// The real walk over mirrored packets. It can send nothing ([`DryPort`]), and it encrypts with keys that it draws by itself
/// and that nobody else ever has: no key and no SA can be given to it from outside.
pub struct Shadow<C: Clock> {
    worker: Worker<DryPort, DryPool, C>,
    control: ControlLinks,
    into: Producer<Slot<DryPacket>>,
    seen: Source,
}

impl<C: Clock> Shadow<C> {
    /// A shadow of this engine.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn new(parts: ShadowParts<C>) -> Result<Shadow<C>, aws_lc_rs::error::Unspecified> {
        let id = WorkerId(0);
        // It forwards whoever owns the site: that is what it is asked.
        let lease = Arc::new(AtomicU64::new(u64::MAX));
        let snapshot = parts.snapshot.without_site_link();
        let (mut links, control) =
            connect(1, snapshot.tunnels.len(), &lease).pop().expect("one worker was asked for");
        let (into, handed) = ring(1);
        links.handoff_in.push(handed);
        let (sas, (mirror, seen)) = (throwaway_sas(&snapshot)?, of_all(id));
        let worker = Worker::new(WorkerParts {
            id,
            ports: vec![DryPort; parts.ports],
            pool: DryPool,
            clock: parts.clock,
            snapshot,
            links,
            icmp_errors_per_second: 0,
            sessions: parts.sessions,
            bfd: Vec::new(),
        });
        let mut shadow = Shadow { worker, control, into, seen };
        for (tunnel, sa) in sas {
            shadow.command(Command::InstallOutbound(tunnel, sa));
        }
        shadow.command(Command::Mirror(mirror));
        Ok(shadow)
    }

    /// Private, so that nobody installs an SA that was not made here.
    fn command(&mut self, command: Command) {
        // There is room: each is carried out before the next.
        drop(self.control.commands.push(command));
        self.idle();
    }

    /// Newer tables of this engine.
    pub fn publish(&mut self, snapshot: &Snapshot) {
        drop(self.control.snapshots.post(Box::new(snapshot.without_site_link())));
        self.idle();
    }

    /// What this engine would do with a packet of `length` bytes that begins with `head` and came in by `ingress`. `None` if it
    /// never comes to where packets are judged.
    pub fn walk(&mut self, ingress: Ingress, head: &[u8], length: usize) -> Option<Walked> {
        let mut packet = DryPacket::padded(head, length)?;
        let mut meta = Meta::NEW;
        let parsed = match ingress {
            Ingress::Interface(interface) => {
                meta.interface = interface;
                parse::ip_header(&mut packet, &mut meta)
            }
            Ingress::Tunnel(tunnel) => {
                meta.tunnel_in = Some(tunnel);
                parse::inner(&mut packet, &mut meta)
            }
        };
        if let Err(reason) = parsed {
            return Some(Walked { fate: Fate::Dropped(reason), in_session: false, residence: None });
        }
        // There is room for one, and the one before was taken.
        drop(self.into.push(Slot { packet, meta }));
        self.idle();
        let of = |copied: &Copied| Walked {
            fate: copied.fate,
            in_session: copied.in_session,
            residence: copied.residence,
        };
        let walked = self.seen.next(of);
        // Further ones would be of what waited: nobody asks for them.
        while self.seen.next(|_| ()).is_some() {}
        walked
    }

    /// Lets time pass, and shows that it still reads its tables. What it reports is not for this engine's ears: nobody is to be
    /// asked for a neighbour because of a mirrored packet.
    pub fn idle(&mut self) {
        self.worker.poll();
        while self.control.events.pop().is_some() {}
        while self.control.retired.pop().is_some() {}
    }

    /// Its counters, which say which tables it has come to.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.control.counters
    }
}

/// An SA for each tunnel that takes one, under a key that is drawn here and dies here.
fn throwaway_sas(tables: &Tables) -> Result<Vec<(TunnelId, Box<OutboundSa>)>, aws_lc_rs::error::Unspecified> {
    const ALGORITHM: Algorithm = Algorithm::Aes128Gcm;
    let mut sas = Vec::new();
    for tunnel in tables.tunnels.iter().filter(|tunnel| tunnel.encapsulation.is_esp()) {
        let mut keymat = zeroize::Zeroizing::new(vec![0; ALGORITHM.keymat_length()]);
        aws_lc_rs::rand::fill(&mut keymat)?;
        let key = SaKey::new(&AwsLc, ALGORITHM, &keymat).expect("keymat of the algorithm's length");
        // No SPI that is reserved (RFC 4303 §2.1); nobody ever reads it.
        let (spi, limits) = (Spi(0x1000), Limits { soft: u64::MAX, hard: u64::MAX });
        let sa = OutboundSa::new(spi, key, limits, true).expect("an SPI and limits that are valid");
        sas.push((tunnel.id, Box::new(sa)));
    }
    Ok(sas)
}

impl Snapshot {
    /// The same tables as the engine would have without its site's other one: what goes to another site has to go by a tunnel
    /// of its own.
    pub fn without_site_link(&self) -> Snapshot {
        let mut tables = Tables::clone(self);
        let down = |tunnel: &crate::snapshot::Tunnel| {
            let mut tunnel = tunnel.clone();
            tunnel.up &= tunnel.encapsulation != Encapsulation::Direct;
            tunnel
        };
        tables.tunnels = tables.tunnels.iter().map(down).collect();
        Snapshot::from(tables)
    }
}
