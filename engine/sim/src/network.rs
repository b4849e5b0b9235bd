//! Links that delay, lose and block, each direction by itself, and the control connections over them.

use crate::rng::Rng;
use control::message::Message;
use dataplane::id::{Nanos, PortId, Spi};
use std::collections::BTreeMap;

/// A TCP segment lost on the way comes this much later.
const RETRANSMIT: Nanos = Nanos::from_millis(200);
/// A connection that cannot make progress breaks after this.
const TIMEOUT: Nanos = Nanos::from_millis(1500);
/// A copy of a frame comes up to this much later.
const COPY_LATE: Nanos = Nanos::from_millis(300);
/// A frame that others overtake comes up to this much later.
const OVERTAKEN: Nanos = Nanos::from_millis(20);
/// Both ends try to connect again after this.
const RECONNECT: Nanos = Nanos::from_millis(100);

/// One direction between two engines.
pub type Direction = (&'static str, &'static str);

/// One direction of a link.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// One-way delay.
    pub delay: Nanos,
    /// Random extra delay, up to this.
    pub jitter: Nanos,
    /// Share of packets lost.
    pub loss: f64,
    /// Nothing passes.
    pub blocked: bool,
    /// Share of packets that come once more, up to 300 ms later.
    pub duplicated: f64,
    /// Share of packets that others overtake, by up to 20 ms.
    pub reordered: f64,
    /// Blocked and open in turn, each so long.
    pub flaps: Option<Nanos>,
}

impl Link {
    /// Whether anything passes at `now`.
    pub fn passes(&self, now: Nanos) -> bool {
        let down = self.flaps.is_some_and(|period| now.0 / period.0.max(1) % 2 == 1);
        !self.blocked && !down && self.loss < 1.0
    }
}

impl Default for Link {
    fn default() -> Link {
        Link {
            delay: Nanos::from_millis(2),
            jitter: Nanos::from_millis(1),
            loss: 0.0,
            blocked: false,
            duplicated: 0.0,
            reordered: 0.0,
            flaps: None,
        }
    }
}

/// The SA a packet travels under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaUse {
    /// The connection whose exporter gave the keys.
    pub connection: u64,
    /// The generation.
    pub generation: u64,
    /// The SPIs of the generation.
    pub spis: Vec<Spi>,
    /// The receiver's life when the sender switched to it.
    pub receiver_process: u64,
}

/// Something that arrives.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// Over a control connection.
    Message { connection: u64, from: &'static str, message: Box<Message> },
    /// On a wire between two engines' ports.
    Frame { port: PortId, bytes: Vec<u8> },
}

/// A control connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Its number, never used twice.
    pub id: Option<u64>,
    stuck_since: Option<Nanos>,
    retry_at: Nanos,
}

/// What a connection did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// It is up, under this number.
    Up(&'static str, &'static str, u64),
    /// It is gone.
    Down(&'static str, &'static str),
}

/// All links and connections.
#[derive(Debug)]
pub struct Network {
    /// By direction.
    pub links: BTreeMap<Direction, Link>,
    /// By (lesser, greater) name.
    pub connections: BTreeMap<Direction, Connection>,
    queue: BTreeMap<(Nanos, u64), (&'static str, Arrival)>,
    /// Messages that wait behind a block.
    held: BTreeMap<Direction, Vec<(u64, Message)>>,
    last: BTreeMap<Direction, Nanos>,
    last_frame: BTreeMap<Direction, Nanos>,
    /// Frames lost.
    pub lost: u64,
    count: u64,
    next_connection: u64,
}

impl Network {
    /// Perfect links between all engines; nothing connected yet.
    pub fn new(engines: &[&'static str]) -> Network {
        let pairs = engines.iter().flat_map(|a| engines.iter().map(move |b| (*a, *b)));
        let directions: Vec<Direction> = pairs.filter(|(a, b)| a != b).collect();
        let unconnected = Connection { id: None, stuck_since: None, retry_at: Nanos(0) };
        Network {
            links: directions.iter().map(|d| (*d, Link::default())).collect(),
            connections: directions.iter().filter(|d| d.0 < d.1).map(|d| (*d, unconnected)).collect(),
            queue: BTreeMap::new(),
            held: BTreeMap::new(),
            last: BTreeMap::new(),
            last_frame: BTreeMap::new(),
            lost: 0,
            count: 0,
            next_connection: 1,
        }
    }

    fn enqueue(&mut self, at: Nanos, to: &'static str, arrival: Arrival) {
        self.count += 1;
        self.queue.insert((at, self.count), (to, arrival));
    }

    /// What has arrived by `now`, in order.
    pub fn arrived(&mut self, now: Nanos) -> Option<(&'static str, Arrival)> {
        let entry = self.queue.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// Sends a frame, which may be lost, come twice, or late; else frames stay in order.
    pub fn send_frame(
        &mut self,
        now: Nanos,
        way: Direction,
        (port, bytes): (PortId, Vec<u8>),
        rng: &mut Rng,
    ) {
        let link = self.links[&way];
        if !link.passes(now) || (link.loss > 0.0 && rng.chance(link.loss)) {
            self.lost += 1;
            return;
        }
        if link.duplicated > 0.0 && rng.chance(link.duplicated) {
            let late = now.plus(link.delay).plus(Nanos(rng.below(COPY_LATE.0)));
            self.enqueue(late, way.1, Arrival::Frame { port, bytes: bytes.clone() });
        }
        let mut at = now.plus(link.delay).plus(Nanos(rng.below(link.jitter.0 + 1)));
        if link.reordered > 0.0 && rng.chance(link.reordered) {
            at = at.plus(Nanos(rng.below(OVERTAKEN.0)));
        } else {
            let last = self.last_frame.entry(way).or_default();
            at = at.max(*last);
            *last = at;
        }
        self.enqueue(at, way.1, Arrival::Frame { port, bytes });
    }

    /// Sends a message, which arrives in order, late, or when the connection breaks not at all.
    pub fn send_message(&mut self, now: Nanos, way: Direction, message: Message, rng: &mut Rng) {
        let Some(id) = self.connection(way).id else { return };
        if !self.links[&way].passes(now) || self.held.get(&way).is_some_and(|h| !h.is_empty()) {
            self.held.entry(way).or_default().push((id, message));
            return;
        }
        self.transmit(now, way, id, message, rng);
    }

    fn transmit(&mut self, now: Nanos, way: Direction, id: u64, message: Message, rng: &mut Rng) {
        let link = self.links[&way];
        let mut at = now.plus(link.delay);
        while link.loss < 1.0 && rng.chance(link.loss) {
            at = at.plus(RETRANSMIT);
        }
        let at = at.max(self.last.get(&way).copied().unwrap_or_default());
        self.last.insert(way, at);
        let arrival = Arrival::Message { connection: id, from: way.0, message: Box::new(message) };
        self.enqueue(at, way.1, arrival);
    }

    /// The connection between two engines.
    pub fn connection(&self, way: Direction) -> Connection {
        self.connections[&(way.0.min(way.1), way.0.max(way.1))]
    }

    /// Breaks the connection of a pair; its messages are lost.
    pub fn disconnect(&mut self, now: Nanos, pair: Direction) -> Option<ConnectionEvent> {
        let connection = self.connections.get_mut(&pair)?;
        connection.id.take()?;
        connection.retry_at = now.plus(RECONNECT);
        connection.stuck_since = None;
        self.held.remove(&pair);
        self.held.remove(&(pair.1, pair.0));
        Some(ConnectionEvent::Down(pair.0, pair.1))
    }

    /// Connections come and go with what the links and the engines (`alive`) allow.
    pub fn poll(
        &mut self,
        now: Nanos,
        alive: impl Fn(&str) -> bool,
        responsive: impl Fn(&str) -> bool,
        rng: &mut Rng,
    ) -> Vec<ConnectionEvent> {
        let mut events = Vec::new();
        let pairs: Vec<Direction> = self.connections.keys().copied().collect();
        for pair in pairs {
            let dead = |way: Direction| !self.links[&way].passes(now);
            let back = (pair.1, pair.0);
            let passes = !dead(pair) && !dead(back) && responsive(pair.0) && responsive(pair.1);
            let connection = self.connections.get_mut(&pair).expect("a pair");
            match connection.id {
                Some(_) if !alive(pair.0) || !alive(pair.1) => {
                    events.extend(self.disconnect(now, pair));
                }
                Some(_) if passes => {
                    connection.stuck_since = None;
                    self.flush(now, pair, rng);
                    self.flush(now, back, rng);
                }
                Some(_) => {
                    let since = *connection.stuck_since.get_or_insert(now);
                    if now.since(since) >= TIMEOUT {
                        events.extend(self.disconnect(now, pair));
                    } else {
                        self.flush(now, pair, rng);
                        self.flush(now, back, rng);
                    }
                }
                None if passes && now >= connection.retry_at => {
                    connection.id = Some(self.next_connection);
                    events.push(ConnectionEvent::Up(pair.0, pair.1, self.next_connection));
                    self.next_connection += 1;
                }
                None => {}
            }
        }
        events
    }

    fn flush(&mut self, now: Nanos, way: Direction, rng: &mut Rng) {
        if !self.links[&way].passes(now) {
            return;
        }
        for (id, message) in self.held.remove(&way).unwrap_or_default() {
            self.transmit(now, way, id, message, rng);
        }
    }
}
