//! What the site's engines run alike, while the engine runs: what [`control::replication`] asks for, carried out. Files are
//! read, checked and written beside the loop, and what was checked is applied in one go.

mod apply;

use super::engine::Engine;
use crate::api::site::{ConfigStatus, SiteAsk, SiteStatus};
use crate::config::Config;
use crate::peer::PeerEvent;
use crate::routes::Targets;
use crate::site::{Prepared, Site, sha256};
use control::message::Message;
use control::replication::{Digest, Done, Input, Notice, Output, Replicator, Version};
use dataplane::id::InterfaceId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// Work that may be under way beside the loop.
const WAITING: usize = 8;

/// What was done beside the loop.
pub enum SiteEvent {
    /// Whether a version fits.
    Checked { ticket: u64, id: Digest, result: Result<Box<Prepared>, Vec<String>> },
    /// Whether it is on the disk.
    Kept { ticket: u64, result: Result<(), String> },
}

/// This engine's part in its site's configuration.
pub struct SiteConfig {
    site: Site,
    replicator: Replicator,
    /// Its file with what is in force over it.
    config: Config,
    /// What was checked last.
    prepared: Option<(Digest, Box<Prepared>)>,
    /// The other engine has said whether it shares its configuration.
    linked: bool,
    done: mpsc::Sender<SiteEvent>,
    targets: watch::Sender<Arc<Targets>>,
    replies: BTreeMap<u64, oneshot::Sender<Result<Done, String>>>,
    asked: u64,
}

impl SiteConfig {
    /// The part of the engine called `engine` beside `peer`, which runs `config`; and where its events come from. Routes that are
    /// changed by hand lead to `targets`.
    pub fn new(
        (engine, peer): (&str, Option<&str>),
        site: Site,
        config: Config,
        targets: watch::Sender<Arc<Targets>>,
    ) -> (SiteConfig, mpsc::Receiver<SiteEvent>) {
        let (done, events) = mpsc::channel(WAITING);
        let revision = &site.version.head.revision;
        tracing::info!(
            generation = revision.generation,
            author = revision.author,
            "the site's configuration"
        );
        if let Some(alarm) = &site.alarm {
            tracing::error!("the site's configuration: {alarm}");
        }
        let replicator = Replicator::new(engine, peer, site.version.clone(), site.floor, sha256);
        let (replies, prepared) = (BTreeMap::new(), None);
        (
            SiteConfig {
                site,
                replicator,
                config,
                prepared,
                linked: false,
                done,
                targets,
                replies,
                asked: 0,
            },
            events,
        )
    }

    /// Compares a version with the engine's file, beside the loop.
    fn check(&self, ticket: u64, version: &Version, out_of: Vec<InterfaceId>) {
        let (own, done) = (self.site.own.clone(), self.done.clone());
        let (id, text) = (version.head.revision.id, version.text.clone());
        tokio::task::spawn_blocking(move || {
            let result = Prepared::new(&own, &text, &out_of).map(Box::new);
            // An engine that has ended asks no more.
            let _ = done.blocking_send(SiteEvent::Checked { ticket, id, result });
        });
    }

    /// Puts a version on the disk, beside the loop.
    fn keep(&self, ticket: u64, version: Version) {
        let (kept, done) = (self.site.kept.clone(), self.done.clone());
        tokio::task::spawn_blocking(move || {
            let result = kept.keep(&version).map_err(|error| format!("{error:#}"));
            let _ = done.blocking_send(SiteEvent::Kept { ticket, result });
        });
    }

    /// At a glance.
    pub fn status(&self) -> ConfigStatus {
        ConfigStatus {
            generation: self.replicator.version().head.revision.generation,
            relation: self.replicator.relation(),
            busy: self.replicator.is_busy(),
            malformed: self.replicator.malformed(),
            alarm: self.site.alarm.clone(),
        }
    }

    fn whole_status(&self) -> SiteStatus {
        let version = self.replicator.version();
        let shareable = || self.site.own.shareable();
        SiteStatus {
            status: self.status(),
            head: version.head.clone(),
            text: if version.head.is_root() { shareable() } else { version.text.to_string() },
            peer: self.replicator.peer().map(str::to_owned),
            theirs: self.replicator.theirs().cloned(),
            their_text: self.replicator.their_text().map(ToString::to_string),
        }
    }
}

impl Engine {
    /// Takes part in the site's configuration, if its file wants it; what is done beside the loop comes from what is returned.
    pub fn start_site(
        &mut self,
        shared: Option<(Site, Config)>,
        targets: watch::Sender<Arc<Targets>>,
    ) -> mpsc::Receiver<SiteEvent> {
        // Without it nothing ever comes.
        let Some((site, config)) = shared else { return mpsc::channel(1).1 };
        let peer = self.plan.controller.ha.as_ref().map(|ha| ha.peer.clone());
        let (site, events) = SiteConfig::new((&self.plan.name, peer.as_deref()), site, config, targets);
        self.site = Some(site);
        events
    }

    /// What is said of the site's configuration on the control connections. True if that was all of it.
    pub fn site_peer_event(&mut self, event: &PeerEvent) -> bool {
        let Some(site) = &mut self.site else {
            return matches!(event, PeerEvent::Message { message: Message::Site { .. }, .. });
        };
        let from_pair = |peer: &String| site.replicator.peer() == Some(peer.as_str());
        let input = match event {
            PeerEvent::Up { peer, .. } | PeerEvent::Down { peer } if from_pair(peer) => {
                site.linked = false;
                Input::Unlinked
            }
            PeerEvent::Message { peer, message: Message::Hello { shares_config, .. } }
                if from_pair(peer) && !site.linked =>
            {
                site.linked = true;
                Input::Linked { speaks: *shares_config }
            }
            PeerEvent::Message { peer, message: Message::Site { says } } => {
                if !from_pair(peer) {
                    tracing::warn!(peer, "it is not of this site, and speaks of its configuration");
                    return true;
                }
                Input::Word(says.clone())
            }
            _ => return false,
        };
        self.site_input(input);
        matches!(event, PeerEvent::Message { message: Message::Site { .. }, .. })
    }

    /// What was done beside the loop.
    pub fn site_event(&mut self, event: SiteEvent) {
        let input = match event {
            SiteEvent::Checked { ticket, id, result } => {
                let result = result.map(|prepared| {
                    if let Some(site) = &mut self.site {
                        site.prepared = Some((id, prepared));
                    }
                });
                Input::Checked { ticket, result }
            }
            SiteEvent::Kept { ticket, result } => Input::Kept { ticket, result },
        };
        self.site_input(input);
    }

    /// What a person asks.
    pub fn site_ask(&mut self, ask: SiteAsk) {
        let Some(site) = &mut self.site else {
            return ask.refuse(
                "this engine shares no configuration: write [site] with keep = \"FOLDER\" in its file",
            );
        };
        match ask {
            SiteAsk::Status(reply) => drop(reply.send(Ok(Box::new(site.whole_status())))),
            SiteAsk::Kept(reply) => drop(reply.send(Ok(site.site.kept.clone()))),
            SiteAsk::Change(request, reply) => {
                site.asked += 1;
                let id = site.asked;
                site.replies.insert(id, reply);
                self.site_input(Input::Ask { id, request });
            }
        }
    }

    /// Time passes.
    pub fn site_tick(&mut self) {
        self.site_input(Input::Tick);
    }

    fn site_input(&mut self, input: Input) {
        let now = self.now();
        let Some(site) = &mut self.site else { return };
        let mut outputs = Vec::new();
        site.replicator.step(now, input, &mut outputs);
        for output in outputs {
            self.site_output(output);
        }
    }

    fn site_output(&mut self, output: Output) {
        let Some(site) = &mut self.site else { return };
        match output {
            Output::Check { ticket, version } => {
                let tunnels = self.plan.forwarding.tunnels.iter();
                site.check(ticket, &version, tunnels.map(|tunnel| tunnel.interface).collect());
            }
            Output::Keep { ticket, version } => site.keep(ticket, version),
            Output::Apply { version } => self.apply_site(&version),
            Output::Send(says) => {
                let session = site.replicator.peer().and_then(|peer| self.sessions.get(peer));
                if let Some(session) = session
                    && let Err(error) = session.send(&Message::Site { says })
                {
                    tracing::warn!(peer = session.peer(), %error, "configuration not sent");
                }
            }
            Output::Answer { id, result } => {
                if let Some(reply) = site.replies.remove(&id) {
                    // Whoever asked may have gone.
                    let _ = reply.send(result);
                }
            }
            Output::Say(notice) => say(&notice),
        }
    }
}

/// Into the log.
fn say(notice: &Notice) {
    match notice {
        Notice::InSync(revision) => {
            tracing::info!(
                generation = revision.generation,
                "the other engine of the site has this configuration too"
            );
        }
        Notice::Conflict { mine, theirs } => {
            let of = |r: &control::replication::Revision| {
                let at = crate::site::diff::utc(r.at_ms);
                format!("generation {} by {} at {}, {at}", r.generation, r.author, r.engine)
            };
            tracing::error!(
                mine = of(mine),
                theirs = of(theirs),
                "CONFLICT: the site's configuration was changed at both engines while they were apart; both go on with what they \
                 have, see `foreshift config diff --theirs` and `foreshift config resolve`"
            );
        }
        Notice::Declined { revision, here, reasons } => {
            let who = if *here { "this engine" } else { "the other engine of the site" };
            let (generation, reasons) = (revision.generation, reasons.join("; "));
            tracing::error!(generation, reasons, "{who} does not take the site's configuration");
        }
        Notice::Malformed(what) => {
            tracing::error!("the other engine sent a configuration that is none: {what}")
        }
    }
}
