//! Links that delay, lose and block, each direction by itself, and the control connections over them.

use crate::rng::Rng;
use control::message::Message;
use dataplane::id::{Nanos, Spi, TunnelId};
use std::collections::BTreeMap;

/// A TCP segment lost on the way comes this much later.
const RETRANSMIT: Nanos = Nanos::from_millis(200);
/// A connection that cannot make progress breaks after this.
const TIMEOUT: Nanos = Nanos::from_millis(1500);
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
}

impl Default for Link {
    fn default() -> Link {
        Link { delay: Nanos::from_millis(2), jitter: Nanos::from_millis(1), loss: 0.0, blocked: false }
    }
}

/// A probe on its way.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Who sent it, in which of its lives.
    pub from: &'static str,
    /// See `from`.
    pub process: u64,
    /// The sender's tunnel.
    pub tunnel: TunnelId,
    /// The sender's number.
    pub sequence: u32,
    /// True time.
    pub sent: Nanos,
    /// The SA it travels under.
    pub sa: Option<SaUse>,
    /// The reflector's count, on the way back.
    pub reflected: Option<u32>,
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
    /// In a tunnel.
    Probe(Probe),
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

    /// Sends a packet, which may be lost.
    pub fn send_probe(&mut self, now: Nanos, way: Direction, probe: Probe, rng: &mut Rng) {
        let link = self.links[&way];
        if link.blocked || rng.chance(link.loss) {
            return;
        }
        let at = now.plus(link.delay).plus(Nanos(rng.below(link.jitter.0 + 1)));
        self.enqueue(at, way.1, Arrival::Probe(probe));
    }

    /// Sends a message, which arrives in order, late, or when the connection breaks not at all.
    pub fn send_message(&mut self, now: Nanos, way: Direction, message: Message, rng: &mut Rng) {
        let Some(id) = self.connection(way).id else { return };
        if self.links[&way].blocked || self.held.get(&way).is_some_and(|h| !h.is_empty()) {
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
            let dead = |way: Direction| self.links[&way].blocked || self.links[&way].loss >= 1.0;
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
        if self.links[&way].blocked {
            return;
        }
        for (id, message) in self.held.remove(&way).unwrap_or_default() {
            self.transmit(now, way, id, message, rng);
        }
    }
}
