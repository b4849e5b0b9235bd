//! BFD sessions (RFC 5880, asynchronous mode; single hop, RFC 5881, and multihop, RFC 5883): whether a neighbour's forwarding plane answers, told
//! by a worker, whose core nothing else runs on, so that a busy control core looks like no failure.

#[cfg(test)]
mod tests;

use crate::id::{InterfaceId, Nanos};
use crate::wire::bfd::{Control, Diagnostic, MULTIHOP_PORT, PORT, State};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// A session that is not Up sends no faster (RFC 5880 §6.8.3).
const SLOW: Duration = Duration::from_secs(1);

/// How far away the other end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hops {
    /// On the link: what has crossed a router is not its (RFC 5881 §5).
    Single,
    /// Wherever the routes lead (RFC 5883).
    Multi {
        /// What arrives with a lower TTL has come from further away than it can be.
        ttl_min: u8,
    },
}

impl Hops {
    /// What is received with less is refused.
    pub const fn ttl_min(self) -> u8 {
        match self {
            Hops::Single => 255,
            Hops::Multi { ttl_min } => ttl_min,
        }
    }

    /// The UDP port of such sessions.
    pub const fn port(self) -> u16 {
        match self {
            Hops::Single => PORT,
            Hops::Multi { .. } => MULTIHOP_PORT,
        }
    }
}

/// What a session is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Where the neighbour is; of one further away, the interface whose address is ours.
    pub interface: InterfaceId,
    /// How far away it is.
    pub hops: Hops,
    /// Our address on that link.
    pub local: IpAddr,
    /// The neighbour's.
    pub remote: IpAddr,
    /// Our name of the session: not 0, and no other session's.
    pub discriminator: u32,
    /// How often we send and want to hear.
    pub interval: Duration,
    /// Packets that may be missed before the neighbour counts as gone.
    pub multiplier: u8,
}

/// How a packet came.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    /// Where.
    pub interface: InterfaceId,
    /// Its source.
    pub src: IpAddr,
    /// Its destination.
    pub dst: IpAddr,
    /// The UDP port that it was sent to.
    pub port: u16,
    /// Its TTL or hop limit.
    pub ttl: u8,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    parameters: Parameters,
    state: State,
    diagnostic: Diagnostic,
    remote_state: State,
    remote_discriminator: u32,
    remote_min_rx: Duration,
    /// What we send at, and take, now; RFC 5880 §6.8.3 changes it by a Poll Sequence.
    interval: Duration,
    polling: bool,
    answer: bool,
    next: Nanos,
    heard: Option<(Nanos, Duration)>,
    random: u32,
}

/// Where a session has ended in another process. See [`Session::resumed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// Its state.
    pub state: State,
    /// What the neighbour said of itself last.
    pub remote_state: State,
    /// The neighbour's name of it.
    pub remote_discriminator: u32,
    /// How often the neighbour wants to hear.
    pub remote_min_rx: Duration,
    /// A Poll Sequence is under way.
    pub polling: bool,
    /// How long the neighbour may still be silent.
    pub patience: Duration,
}

impl Session {
    /// A session that has heard nothing.
    pub fn new(parameters: Parameters) -> Session {
        Session {
            parameters,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            remote_state: State::Down,
            remote_discriminator: 0,
            remote_min_rx: Duration::from_micros(1),
            interval: parameters.interval.max(SLOW),
            polling: false,
            answer: false,
            next: Nanos(0),
            heard: None,
            random: parameters.discriminator | 1,
        }
    }

    /// What another process of this engine needs to go on as if it were this one.
    pub fn resume_with(&self, now: Nanos) -> Resume {
        let left = |(at, patience): (Nanos, Duration)| {
            patience.saturating_sub(Duration::from_nanos(now.since(at).0))
        };
        Resume {
            state: self.state,
            remote_state: self.remote_state,
            remote_discriminator: self.remote_discriminator,
            remote_min_rx: self.remote_min_rx,
            polling: self.polling,
            patience: self.heard.map_or(Duration::ZERO, left),
        }
    }

    /// Goes on where another process has ended. What it still had to wait is left, and the other end hears from here at once.
    pub fn resumed(parameters: Parameters, from: Resume, now: Nanos) -> Session {
        let up = from.state == State::Up;
        Session {
            state: from.state,
            remote_state: from.remote_state,
            remote_discriminator: from.remote_discriminator,
            remote_min_rx: from.remote_min_rx,
            interval: if up { parameters.interval } else { parameters.interval.max(SLOW) },
            // Another configuration's pace is polled for (§6.8.3).
            polling: from.polling || up,
            heard: Some((now, from.patience)),
            ..Session::new(parameters)
        }
    }

    /// What it is made with.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it last left Up.
    pub fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    /// What the neighbour said of itself last.
    pub fn remote_state(&self) -> State {
        self.remote_state
    }

    /// Whether a packet is of this session: it names it, or names none and comes from its neighbour (RFC 5881 §3), to the
    /// port and with the TTL of such sessions. One from further away may come by any interface (RFC 5883 §3).
    pub fn is_for(&self, packet: &Control, arrived: &Arrived) -> bool {
        let ours = &self.parameters;
        let named = packet.your_discriminator == ours.discriminator || packet.your_discriminator == 0;
        let here = ours.hops != Hops::Single || ours.interface == arrived.interface;
        let right = (ours.remote, ours.local, ours.hops.port()) == (arrived.src, arrived.dst, arrived.port);
        named && here && right && arrived.ttl >= ours.hops.ttl_min()
    }

    /// A packet of the session has come (RFC 5880 §6.8.6).
    pub fn received(&mut self, packet: &Control, now: Nanos) {
        self.remote_discriminator = packet.my_discriminator;
        self.remote_state = packet.state;
        self.remote_min_rx = packet.required_min_rx;
        self.answer |= packet.poll;
        if packet.final_ {
            self.polling = false;
        }
        // §6.8.4: their multiplier times what they send at, which is the slower of the two wishes.
        let pace = self.parameters.interval.max(packet.desired_min_tx);
        self.heard = Some((now, pace * u32::from(packet.detect_multiplier)));
        let (state, diagnostic) = match (self.state, packet.state) {
            (State::AdminDown, _) => return,
            (State::Down, State::Down) => (State::Init, self.diagnostic),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                (State::Up, Diagnostic::NONE)
            }
            (State::Init | State::Up, State::AdminDown) | (State::Up, State::Down) => {
                (State::Down, Diagnostic::NEIGHBOR_DOWN)
            }
            (state, _) => (state, self.diagnostic),
        };
        self.enter(state, diagnostic);
    }

    fn enter(&mut self, state: State, diagnostic: Diagnostic) {
        let was = std::mem::replace(&mut self.state, state);
        self.diagnostic = diagnostic;
        if was == state {
            return;
        }
        // §6.8.3: at full pace only while Up, and the change is polled for.
        let up = state == State::Up;
        self.interval = if up { self.parameters.interval } else { self.parameters.interval.max(SLOW) };
        self.polling = up;
        self.next = Nanos(0);
    }

    /// What time brings; the packet to send now, if one is due.
    pub fn poll(&mut self, now: Nanos) -> Option<Control> {
        if let Some((at, patience)) = self.heard
            && now.since(at).0 > patience.as_nanos() as u64
        {
            // §6.8.4, §6.8.1: what it said of itself is forgotten after that time.
            self.heard = None;
            (self.remote_discriminator, self.remote_state) = (0, State::Down);
            if matches!(self.state, State::Init | State::Up) {
                self.enter(State::Down, Diagnostic::TIMED_OUT);
            }
        }
        if self.answer {
            // A poll is answered at once, whenever the next packet is due (§6.5).
            self.answer = false;
            return Some(Control { final_: true, poll: false, ..self.packet() });
        }
        if now < self.next || self.remote_min_rx.is_zero() {
            return None;
        }
        let pace = self.interval.max(self.remote_min_rx);
        self.next = now.plus(Nanos(self.jittered(pace)));
        Some(self.packet())
    }

    fn packet(&self) -> Control {
        Control {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: self.polling,
            final_: false,
            demand: false,
            detect_multiplier: self.parameters.multiplier,
            my_discriminator: self.parameters.discriminator,
            your_discriminator: self.remote_discriminator,
            desired_min_tx: self.interval,
            required_min_rx: self.parameters.interval,
        }
    }

    /// 75 to 100 % of a pace, to 90 % where one packet may not be missed (§6.8.7); nanoseconds.
    fn jittered(&mut self, pace: Duration) -> u64 {
        // Marsaglia's xorshift: spreads packets, guards nothing.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let most = if self.parameters.multiplier == 1 { 15 } else { 25 };
        let percent = 75 + u64::from(self.random % (most + 1));
        pace.as_nanos() as u64 / 100 * percent
    }
}
