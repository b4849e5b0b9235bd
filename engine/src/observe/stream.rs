//! From the workers' records to the client's socket, on a thread of its own.

use super::names::Names;
use super::pcapng::{self, Interface, Link};
use super::trace::PacketTrace;
use super::wire::{End, Message};
use dataplane::id::{PortId, WorkerId};
use dataplane::observe::record::{Direction, Place};
use dataplane::observe::session::{Side, Source, Watch};
use dataplane::observe::{Origin, Outcome, Record};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Records taken from one worker before the others have their turn.
const TURN: usize = 128;
/// How often empty rings are looked at.
const IDLE: Duration = Duration::from_millis(5);
/// How often a busy stream looks whether its client still wants it.
const LOOK: Duration = Duration::from_millis(100);
/// A client that takes nothing for so long has stopped.
const PATIENCE: Duration = Duration::from_secs(5);
/// A message of capture is sent when it has grown to this, bytes.
const CHUNK: usize = 256 << 10;

impl std::fmt::Debug for Observation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observation").field("watch", &self.watch).finish_non_exhaustive()
    }
}

/// Everything that showing an observation takes. Control ends the workers' part when this is dropped.
pub struct Observation {
    /// What is watched.
    pub watch: Watch,
    /// The filter's text.
    pub filter: String,
    /// Bytes kept of each packet.
    pub snaplen: u32,
    /// Ends after so many packets.
    pub count: Option<u64>,
    /// Ends then.
    pub until: Instant,
    /// The workers' records.
    pub sources: Vec<Source>,
    /// What things are called.
    pub names: Names,
    /// UNIX time at zero of the engine's clock, nanoseconds.
    pub started_ns: u64,
    /// Set by control when the engine stops.
    pub stopped: Arc<AtomicBool>,
}

impl Observation {
    /// Shows records on `stream` until the client has gone or there is another reason to end.
    ///
    /// # Errors
    /// If the client can no longer be written to.
    pub fn show(mut self, mut stream: UnixStream) -> io::Result<()> {
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(IDLE))?;
        let mut screen = Screen::new(&self);
        let mut sources = std::mem::take(&mut self.sources);
        let mut looked = Instant::now();
        let why = loop {
            let mut taken = 0;
            for source in &mut sources {
                taken += self.turn(source, &mut screen);
            }
            screen.flush(&mut stream)?;
            if self.count.is_some_and(|count| screen.shown >= count) {
                break "as many packets as asked for";
            }
            if Instant::now() >= self.until {
                break "the time is up";
            }
            if self.stopped.load(Ordering::Relaxed) {
                break "the engine is stopping";
            }
            if taken == 0 || looked.elapsed() >= LOOK {
                looked = Instant::now();
                if gone(&mut stream)? {
                    break "stopped by the client";
                }
            }
        };
        screen.end(&self, &sources, why);
        screen.flush(&mut stream)
    }

    /// Shows what one worker has, at most [`TURN`] records.
    fn turn(&self, source: &mut Source, screen: &mut Screen) -> usize {
        let (worker, lost) = (source.worker, source.tally.lost.get());
        let mut taken = 0;
        while taken < TURN && self.count.is_none_or(|count| screen.shown < count) {
            if !source.next(|record| screen.show(self, worker, lost, record)) {
                break;
            }
            taken += 1;
        }
        taken
    }

    /// The interfaces of a capture.
    fn interfaces(&self) -> Vec<Interface> {
        let interface = |name: String, description: &str, link| Interface {
            name,
            description: description.to_owned(),
            link,
        };
        match self.watch {
            Watch::Trace => Vec::new(),
            Watch::Port { port, .. } => vec![interface(self.names.port(port), "port", Link::Ethernet)],
            Watch::Tunnel { ends, side, .. } => {
                let side = if side == Side::Inside { "inside of tunnel" } else { "outside of tunnel" };
                vec![interface(self.names.tunnel(ends.id), side, Link::Ip)]
            }
            Watch::Drop(_) => {
                let ports = self.names.ports().iter();
                let ports = ports.map(|name| interface(name.clone(), "dropped, as received", Link::Ethernet));
                let own = interface(
                    "foreshift".to_owned(),
                    "dropped, made or handed over here, or having waited",
                    Link::Ip,
                );
                ports.chain([own]).collect()
            }
        }
    }

    /// Which of [`Observation::interfaces`] a record belongs to.
    fn interface_of(&self, record: &Record) -> u32 {
        match (self.watch, record.place) {
            (Watch::Drop(_), Place::Port(PortId(port))) => port.into(),
            (Watch::Drop(_), _) => self.names.ports().len() as u32,
            _ => 0,
        }
    }
}

/// What waits to be sent, and what has been.
struct Screen {
    out: Vec<u8>,
    pcapng: Vec<u8>,
    shown: u64,
    /// By interface.
    received: Vec<u64>,
    /// Losses told so far, by worker.
    lost: Vec<u64>,
}

impl Screen {
    fn new(observation: &Observation) -> Screen {
        let interfaces = observation.interfaces();
        let mut pcapng = Vec::new();
        if !interfaces.is_empty() {
            pcapng::section(&mut pcapng, concat!("foreshift ", env!("CARGO_PKG_VERSION")));
        }
        for interface in &interfaces {
            pcapng::interface(&mut pcapng, interface, observation.snaplen, &observation.filter);
        }
        let workers = observation.sources.len();
        Screen {
            out: Vec::new(),
            pcapng,
            shown: 0,
            received: vec![0; interfaces.len()],
            lost: vec![0; workers],
        }
    }

    fn show(&mut self, observation: &Observation, worker: WorkerId, lost: u64, record: &Record) {
        self.shown += 1;
        if observation.watch == Watch::Trace {
            let trace = PacketTrace::of(record, worker, observation.started_ns, &observation.names);
            return self.message(Message::Trace(Box::new(trace)));
        }
        let interface = observation.interface_of(record);
        let told = std::mem::replace(&mut self.lost[worker.index()], lost);
        self.received[interface as usize] += 1;
        let packet = pcapng::Packet {
            interface,
            unix_ns: observation.started_ns + record.at.0,
            data: record.data(),
            length: record.length,
            inbound: match record.place {
                Place::Own => None,
                Place::Port(_) | Place::Tunnel(_) => Some(record.direction == Direction::Rx),
            },
            worker: worker.0,
            lost: lost - told,
            comment: comment(record, worker),
        };
        pcapng::packet(&mut self.pcapng, &packet);
        if self.pcapng.len() >= CHUNK {
            self.chunk();
        }
    }

    fn message(&mut self, message: Message) {
        // Numbers and strings always have a JSON form.
        let _ = message.write(&mut self.out);
    }

    fn chunk(&mut self) {
        if !self.pcapng.is_empty() {
            let bytes = std::mem::take(&mut self.pcapng);
            self.message(Message::Pcapng(bytes));
        }
    }

    fn flush(&mut self, stream: &mut UnixStream) -> io::Result<()> {
        self.chunk();
        stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    fn end(&mut self, observation: &Observation, sources: &[Source], why: &str) {
        let lost = sources.iter().map(|source| source.tally.lost.get()).sum();
        let over_rate = sources.iter().map(|source| source.tally.over_rate.get()).sum();
        let elapsed = unix_ns();
        for (interface, received) in self.received.iter().enumerate() {
            // Losses are known by worker, not by interface: the first one tells them.
            let lost = if interface == 0 { lost + over_rate } else { 0 };
            pcapng::statistics(&mut self.pcapng, interface as u32, elapsed, received + lost, lost);
        }
        self.chunk();
        let (shown, why) = (self.shown, why.to_owned());
        debug_assert!(observation.count.is_none_or(|count| shown <= count));
        self.message(Message::End(End { shown, lost, over_rate, why }));
    }
}

/// UNIX time, nanoseconds.
pub fn unix_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// What pcapng has no field for.
fn comment(record: &Record, worker: WorkerId) -> Option<String> {
    let Some(Outcome::Dropped { at, reason }) = record.outcome else { return None };
    let from = match record.origin {
        Origin::Own => ", made here",
        Origin::Handoff => ", handed over",
        Origin::Held => ", waited for its neighbour",
        Origin::Port(_) => "",
    };
    Some(format!("dropped: {} at {}, worker {worker}{from}", reason.name(), at.name()))
}

/// Whether the client has closed its end or said anything, for at most [`IDLE`].
fn gone(stream: &mut UnixStream) -> io::Result<bool> {
    match stream.read(&mut [0; 1]) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
    }
}
