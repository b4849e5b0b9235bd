//! The SA pair that the engines of site a share, because its far end cannot have one for each: the shell's part. When it is
//! taken and how far it goes is what [`control::shadow::takeover`] says, at both engines.

use super::tape::{self, Recorder};
use crate::sabotage::Sabotage;
use crate::topology::THIRD;
use control::message::SaParameters;
use control::shadow::exchange::Exchange;
use control::shadow::sas::{KeyId, SaState, ShadowedSas, to_keep};
use control::shadow::takeover::{self, About, Action, SiteSa, left_out};
use dataplane::id::{Nanos, Spi};
use dataplane::links::ControlLinks;
use dataplane::message::{Command, Event, Inbound, Retired};
use dataplane::replay::{ReplayWindow, WindowSize};
use dataplane::sa::{Algorithm, InboundSa, OutboundSa, Partition, SaKey};
use std::num::NonZeroU16;

/// What the partner receives, and what it sends: as each names them.
pub const TO_PARTNER: Spi = Spi(0x2000);
/// See [`TO_PARTNER`]. Worker 0's, like every SA of a site.
pub const FROM_PARTNER: Spi = Spi(0x1000);
/// Of both SAs.
pub const PARAMETERS: SaParameters = SaParameters { algorithm: Algorithm::Aes256Gcm, esn: true };

/// Sequence numbers taken at once: few, so that they run out often, but as workers report every 256 that they do.
const NUMBERS: u64 = 1024;

/// The key of what arrives under an SPI, the same in every life.
pub fn keymat(spi: Spi) -> Vec<u8> {
    vec![(spi.0 >> 8) as u8; PARAMETERS.algorithm.keymat_length()]
}

/// The sequence number of a packet to the partner, by key and IV (RFC 6054 §3).
pub fn number_to_partner((half, _): tape::KeyId, iv: u64) -> Option<u64> {
    (half.to_be_bytes() == *key_id(TO_PARTNER).octets()).then_some(iv & ((1 << 48) - 1))
}

/// Whether packets are sealed by the partner under this key.
pub fn is_from_partner((half, _): tape::KeyId) -> bool {
    half.to_be_bytes() == *key_id(FROM_PARTNER).octets()
}

fn key_id(spi: Spi) -> KeyId {
    KeyId::new([(spi.0 >> 8) as u8; 16])
}

/// What an engine has on its disk of the key that it sends with. It outlives the process, and is on no image of the machine:
/// with one that is set back the key must be replaced, as the README says.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    /// Of this engine: 0 or 1.
    lane: u16,
    epoch: u16,
    free: u64,
    /// No number above this was accepted by either engine.
    accepted: u64,
}

impl Disk {
    /// A new one, of this engine of two.
    pub fn new(lane: u16) -> Disk {
        Disk { lane, epoch: 0, free: 1, accepted: 0 }
    }

    fn take(&mut self) -> Option<Partition> {
        let next = (self.epoch + 1..=self.epoch + 2).find(|epoch| epoch % 2 == self.lane)?;
        let first = self.free;
        (self.epoch, self.free) = (next, first + NUMBERS);
        Some(Partition { epoch: NonZeroU16::new(next)?, first, count: NUMBERS })
    }

    /// Numbers below this are taken by either engine.
    pub fn free(&self) -> u64 {
        self.free
    }

    /// Numbers below `end` are the other engine's.
    pub fn reserve(&mut self, end: u64) {
        self.free = self.free.max(end);
    }

    fn keep(&mut self, accepted: u64) {
        self.accepted = self.accepted.max(accepted);
    }
}

/// One life of an engine's shadowing.
pub struct Shadowing {
    /// The channels' ends.
    pub exchange: Exchange,
    /// What the other engine has said of the SA.
    pub known: ShadowedSas,
    site: SiteSa,
    recorder: Recorder,
    sabotage: Option<Sabotage>,
    renewing: bool,
    /// It is the owner's, and wants a part of the key.
    wants: bool,
    /// What is to be on the disk.
    to_keep: u64,
}

impl Shadowing {
    /// It knows nothing, and has no SA.
    pub fn new(exchange: Exchange, recorder: Recorder, disk: Disk, sabotage: Option<Sabotage>) -> Shadowing {
        let about = About {
            key_in: key_id(FROM_PARTNER),
            key_out: key_id(TO_PARTNER),
            spi_in: FROM_PARTNER,
            spi_out: TO_PARTNER,
            parameters: PARAMETERS,
            size: WindowSize::default(),
        };
        Shadowing {
            exchange,
            known: ShadowedSas::default(),
            site: SiteSa::new(about, takeover::Disk { accepted: disk.accepted, free: disk.free }),
            recorder,
            sabotage,
            renewing: false,
            wants: false,
            to_keep: 0,
        }
    }

    /// The engine owns the site from now on, or does not any more.
    pub fn owner(&mut self, owner: bool, links: &mut [ControlLinks], now: Nanos) {
        let mut actions = Vec::new();
        match (self.site.is_owned(), owner) {
            (false, true) => self.wants = true,
            (true, false) => {
                self.site.release(&mut actions);
                self.renewing = false;
            }
            _ => {}
        }
        self.wants &= owner;
        self.carry_out(actions, links, now);
    }

    /// A worker reports something that may be of the SA.
    pub fn event(&mut self, event: Event, links: &mut [ControlLinks], now: Nanos) {
        let mut actions = Vec::new();
        match event {
            Event::Reached(FROM_PARTNER, reached) => self.site.reached(reached, now),
            Event::Limited(FROM_PARTNER, limit) => self.site.limited(limit, now, &mut actions),
            Event::SoftLimit(THIRD) => self.wants |= self.site.may_renew() && !self.renewing,
            Event::OutboundInstalled(THIRD, _) => self.renewing = false,
            Event::Retired(Retired::Inbound(inbound)) if inbound.sa.spi() == FROM_PARTNER => {
                self.site.retired(inbound.sa.window_state(), now, &mut actions);
            }
            _ => {}
        }
        self.carry_out(actions, links, now);
    }

    /// The control loop's part.
    pub fn tick(&mut self, disk: &mut Disk, links: &mut [ControlLinks], now: Nanos) {
        if std::mem::take(&mut self.wants) {
            if !self.site.is_owned() {
                disk.reserve(disk.free + left_out(self.known.silence(now)));
            }
            if let Some(part) = disk.take() {
                self.site.take(part, now);
            }
        }
        let mut actions = Vec::new();
        self.site.tick(now, Some(&self.known), &mut actions);
        self.carry_out(actions, links, now);
        // Nothing comes between this and the command that the worker gets with it.
        disk.keep(self.to_keep);
    }

    /// The limit that the other engine has said of its SA, or where it has let go of it.
    pub fn heard_limit(&self) -> u64 {
        self.known.state(key_id(FROM_PARTNER)).map_or(0, |state| state.limit)
    }

    /// The shadows have noted what was asked under a ticket, or there is none.
    pub fn settled(&mut self, ticket: u64, noted: bool, now: Nanos) {
        self.site.settled(ticket, noted, now);
    }

    /// What the other engine reserves is on disk before it is acknowledged.
    pub fn keep(disk: &mut Disk, state: &SaState) {
        disk.reserve(state.reserved);
        disk.keep(to_keep(state.limit, state.rate));
    }

    fn carry_out(&mut self, actions: Vec<Action>, links: &mut [ControlLinks], now: Nanos) {
        let key = key_id(FROM_PARTNER);
        for action in actions {
            let command = match action {
                Action::InstallInbound(window) => self.install(window),
                Action::InstallOutbound(part) => {
                    self.renewing = true;
                    self.send_within(part)
                }
                Action::Keep(accepted) => {
                    self.to_keep = accepted;
                    continue;
                }
                Action::Limit(limit) => Command::Limit(FROM_PARTNER, limit),
                Action::Remove => {
                    let _ = links[0].commands.push(Command::RemoveOutbound(THIRD));
                    Command::RemoveInbound(FROM_PARTNER)
                }
                Action::Reserve(ticket, state) => {
                    self.exchange.sa(state, Some(ticket), now);
                    continue;
                }
                Action::Announce(ticket, limit, rate) => {
                    self.exchange.limit(key, (limit, rate), ticket, now);
                    continue;
                }
                Action::Released(window) => {
                    self.exchange.released(key, window, now);
                    continue;
                }
            };
            // A full ring: the worker does not poll.
            let _ = links[0].commands.push(command);
        }
    }

    fn key(&self, spi: Spi) -> SaKey {
        SaKey::new(&self.recorder, PARAMETERS.algorithm, &keymat(spi)).expect("the length is right")
    }

    fn install(&self, mut window: ReplayWindow) -> Command {
        if self.sabotage == Some(Sabotage::NoFloor) {
            window = ReplayWindow::new(WindowSize::default(), PARAMETERS.esn);
        }
        let sa = InboundSa::resumed(FROM_PARTNER, self.key(FROM_PARTNER), window, PARAMETERS.esn);
        let sa = sa.expect("an SPI that may be");
        Command::InstallInbound(Box::new(Inbound { tunnel: THIRD, sa }))
    }

    fn send_within(&self, part: Partition) -> Command {
        let sa = OutboundSa::partitioned(TO_PARTNER, self.key(TO_PARTNER), part, PARAMETERS.esn);
        Command::InstallOutbound(THIRD, Box::new(sa.expect("a part of the key")))
    }
}
