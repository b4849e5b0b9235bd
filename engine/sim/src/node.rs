//! One engine: a real controller, and what its shell and workers were told.

use crate::network::SaUse;
use crate::plane::site_sa::Disk;
use crate::plane::{Plane, WORKERS};
use crate::store::client::Client;
use control::Controller;
use control::decision::Decision;
use control::io::{Input, Output};
use dataplane::id::{Epoch, GroupId, Nanos, Spi, TunnelId};
use std::collections::{BTreeMap, VecDeque};

/// A clock that starts anywhere and runs a little fast or slow.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What it shows at true time zero.
    pub offset: u64,
    /// Millionths of true speed.
    pub rate_ppm: u64,
}

impl Clock {
    /// What it shows at true time `t`.
    pub fn local(&self, t: Nanos) -> Nanos {
        Nanos(self.offset + (u128::from(t.0) * u128::from(self.rate_ppm) / 1_000_000) as u64)
    }
}

/// What the model says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Predictor {
    /// Always the same.
    Constant(f32),
    /// 0 and 1 in turn, each so many samples.
    Flapping(u64),
}

impl Predictor {
    /// Its `n`-th sample.
    pub fn sample(&self, n: u64) -> f32 {
        match self {
            Predictor::Constant(p) => *p,
            Predictor::Flapping(period) => (n / period % 2) as f32,
        }
    }
}

/// The SAs of one tunnel as the workers hold them.
#[derive(Debug, Default)]
pub struct Sas {
    /// By generation: the connection that keyed it and its SPIs.
    pub inbound: BTreeMap<u64, (u64, Vec<Spi>)>,
    /// In use.
    pub outbound: Option<SaUse>,
}

/// What one life of an engine holds; gone when it is killed.
#[derive(Default)]
pub struct Told {
    /// Owner, and at which epoch.
    pub role: Option<(bool, Epoch)>,
    /// On the engine's clock.
    pub forward_until: Nanos,
    /// (up, fenced)
    pub tunnels: BTreeMap<TunnelId, (bool, bool)>,
    /// Parts by tunnel.
    pub weights: BTreeMap<GroupId, Vec<(TunnelId, u32)>>,
    /// Flowlet gap and deadline of the last change of weights.
    pub last_move: (Nanos, Nanos),
    /// By tunnel.
    pub sas: BTreeMap<TunnelId, Sas>,
    /// Connection by peer, as the network has it.
    pub connected: BTreeMap<&'static str, u64>,
    /// Connection by peer, as the controller was told, and the peer's life: keys are derived from it.
    pub sessions: BTreeMap<&'static str, (u64, u64)>,
}

/// What waits in an engine's inbox.
#[derive(Clone, Debug)]
pub enum Waiting {
    /// An input as it is.
    Input(Input),
    /// A connection came up, under this number and with this life of the peer, or went.
    Session(&'static str, Option<(u64, u64)>),
}

impl From<Input> for Waiting {
    fn from(input: Input) -> Waiting {
        Waiting::Input(input)
    }
}

/// One engine.
pub struct Node {
    /// Its name.
    pub name: &'static str,
    /// Its life, counted over the whole cluster.
    pub process: u64,
    /// `None` when killed.
    pub controller: Option<Controller>,
    /// Stopped by a signal: no thread of it runs.
    pub paused: Option<Nanos>,
    /// Its workers and ports; `None` when killed.
    pub plane: Option<Plane>,
    /// So many of its workers, the last ones, do not poll although its control thread runs.
    pub hung: usize,
    /// Its clock.
    pub clock: Clock,
    /// What waits for its next step.
    pub inbox: VecDeque<Waiting>,
    /// True time of its next step.
    pub next_tick: Nanos,
    /// What its model says.
    pub predictor: Predictor,
    /// It reaches the application that it may have to check.
    pub reaches: bool,
    /// When the next sample is due, and its number.
    pub next_sample: (Nanos, u64),
    /// What its workers and shell were told in this life.
    pub told: Told,
    /// What is on its disk, whatever becomes of its process.
    pub disk: Disk,
    /// Its way to the state store in this life.
    pub store: Client,
    /// All decisions of all its lives, with the true time.
    pub decisions: Vec<(Nanos, Decision)>,
    /// Answers to commands.
    pub replies: Vec<Result<String, String>>,
}

impl Node {
    /// A dead engine.
    pub fn new(name: &'static str, clock: Clock) -> Node {
        Node {
            name,
            process: 0,
            controller: None,
            paused: None,
            plane: None,
            hung: 0,
            clock,
            inbox: VecDeque::new(),
            next_tick: Nanos(0),
            predictor: Predictor::Constant(0.0),
            reaches: true,
            next_sample: (Nanos(0), 0),
            told: Told::default(),
            disk: Disk::new(u16::from(name == "a2")),
            store: Client::default(),
            decisions: Vec::new(),
            replies: Vec::new(),
        }
    }

    /// Exists and is not paused.
    pub fn runs(&self) -> bool {
        self.controller.is_some() && self.paused.is_none()
    }

    /// Its workers would transmit at true time `t`.
    pub fn forwards(&self, t: Nanos) -> bool {
        self.runs() && self.hung < WORKERS && self.clock.local(t) < self.told.forward_until
    }

    /// Its workers hold ownership at true time `t`, even if they are paused just now.
    pub fn owns(&self, t: Nanos) -> Option<Epoch> {
        let (owner, epoch) = self.told.role?;
        let live = self.controller.is_some() && self.clock.local(t) < self.told.forward_until;
        (owner && live).then_some(epoch)
    }

    /// One round of the shell's loop: the next queued input, or at the end of the queue how the workers do
    /// and a tick. False when the round is over.
    pub fn turn(&mut self, now: Nanos, out: &mut Vec<Output>) -> bool {
        let local = self.clock.local(now);
        let Some(controller) = &mut self.controller else { return false };
        match self.inbox.pop_front() {
            Some(Waiting::Input(input)) => controller.step(local, Some(input), out),
            Some(Waiting::Session(name, session)) => {
                let peer = name.to_owned();
                let input = match session {
                    Some(session) => {
                        self.told.sessions.insert(name, session);
                        Input::PeerUp { peer }
                    }
                    None => {
                        self.told.sessions.remove(name);
                        Input::PeerDown { peer }
                    }
                };
                controller.step(local, Some(input), out);
            }
            None => {
                if let Some(plane) = &self.plane {
                    controller.step(local, Some(Input::WorkersPolled(plane.polled_at())), out);
                }
                controller.step(local, None, out);
                return false;
            }
        }
        true
    }
}
