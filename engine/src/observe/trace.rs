//! A packet's way in words: as JSON for programs, as text for people.

use super::names::{Names, protocol};
use dataplane::id::WorkerId;
use dataplane::observe::headers::{Header, Upper};
use dataplane::observe::{Origin, Outcome, Record, Step};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// One packet's way through a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketTrace {
    /// When its burst was received, nanoseconds of UNIX time.
    pub unix_ns: u64,
    /// The worker.
    pub worker: u16,
    /// `port NAME`; `handoff` from another worker; `held`, having waited for its neighbour; `own`, made by the engine.
    pub from: String,
    /// Bytes when it came: a frame from a port, an IP packet otherwise.
    pub length: usize,
    /// Stage by stage.
    pub steps: Vec<TraceStep>,
    /// How it ended.
    pub outcome: TraceOutcome,
}

/// How a packet's way ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceOutcome {
    /// By this port.
    Sent {
        /// Its name.
        port: String,
    },
    /// Under this reason.
    Dropped {
        /// The stage.
        at: String,
        /// The name in `foreshift show drops`.
        reason: String,
    },
    /// Waits for its neighbour's address.
    Held,
    /// The worker that owns the SA goes on.
    HandedTo {
        /// That worker.
        worker: u16,
    },
}

/// What one stage left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// Its name.
    pub stage: String,
    /// The first IP header after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<TraceHeader>,
    /// Bytes of the packet after it.
    pub length: usize,
    /// Where the packet came in.
    pub interface: String,
    /// The tunnel it came out of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_in: Option<String>,
    /// Where it goes, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The bucket that chose the tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<u16>,
}

/// An IP header and the first words of what it carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceHeader {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// `udp`, `esp`, …
    pub protocol: String,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Source and destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<(u16, u16)>,
    /// ESP's SPI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spi: Option<u32>,
    /// GRE's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<u32>,
    /// The sequence number of ESP or GRE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u32>,
    /// ICMP type and code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<(u8, u8)>,
}

impl From<Header> for TraceHeader {
    fn from(header: Header) -> TraceHeader {
        let mut shown = TraceHeader {
            src: header.src,
            dst: header.dst,
            protocol: protocol(header.protocol),
            hop_limit: header.hop_limit,
            ports: None,
            spi: None,
            key: None,
            sequence: None,
            icmp: None,
        };
        match header.upper {
            Upper::Ports { src, dst } => shown.ports = Some((src, dst)),
            Upper::Esp(esp) => (shown.spi, shown.sequence) = (Some(esp.spi.0), Some(esp.sequence)),
            Upper::Gre { key, sequence } => (shown.key, shown.sequence) = (key, sequence),
            Upper::Icmp { kind, code } => shown.icmp = Some((kind, code)),
            Upper::Other => {}
        }
        shown
    }
}

impl PacketTrace {
    /// A record in the configuration's words. `started_ns` is the UNIX time at zero of the engine's clock.
    pub fn of(record: &Record, worker: WorkerId, started_ns: u64, names: &Names) -> PacketTrace {
        let from = match record.origin {
            Origin::Port(port) => format!("port {}", names.port(port)),
            Origin::Handoff => "handoff".to_owned(),
            Origin::Held => "held".to_owned(),
            Origin::Own => "own".to_owned(),
        };
        let outcome = match record.outcome {
            Some(Outcome::Sent(port)) => TraceOutcome::Sent { port: names.port(port) },
            Some(Outcome::Dropped { at, reason }) => {
                TraceOutcome::Dropped { at: at.name().to_owned(), reason: reason.name().to_owned() }
            }
            Some(Outcome::HandedTo(worker)) => TraceOutcome::HandedTo { worker: worker.0 },
            Some(Outcome::Held) | None => TraceOutcome::Held,
        };
        PacketTrace {
            unix_ns: started_ns + record.at.0,
            worker: worker.0,
            from,
            length: record.length,
            steps: record.steps.iter().map(|step| TraceStep::of(step, names)).collect(),
            outcome,
        }
    }

    /// The same for people, in lines.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let (second, ns) = (self.unix_ns / 1_000_000_000, self.unix_ns % 1_000_000_000);
        let (hour, minute) = (second / 3600 % 24, second / 60 % 60);
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{hour:02}:{minute:02}:{:02}.{ns:09} worker {} from {}, {} bytes",
            second % 60,
            self.worker,
            self.from,
            self.length
        );
        let mut before: Option<&TraceStep> = None;
        for (at, step) in self.steps.iter().enumerate() {
            let told = step.told(before);
            let last = at + 1 == self.steps.len();
            let end = match &self.outcome {
                TraceOutcome::Dropped { at, reason } if last && *at == step.stage => {
                    format!("DROPPED: {reason}")
                }
                TraceOutcome::Sent { port } if step.stage == "transmit" => format!("sent by port {port}"),
                _ => String::new(),
            };
            let told = [told, end].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
            let _ = writeln!(out, "  {:<9} {}", step.stage, if told.is_empty() { "-" } else { &told });
            before = Some(step);
        }
        let _ = match &self.outcome {
            TraceOutcome::Held => writeln!(out, "  held      until its neighbour answers"),
            TraceOutcome::HandedTo { worker } => {
                writeln!(out, "  handoff   to worker {worker}, which owns its SA")
            }
            TraceOutcome::Dropped { at, reason }
                if self.steps.last().is_none_or(|last| last.stage != *at) =>
            {
                writeln!(out, "  {at:<9} DROPPED: {reason}")
            }
            _ => Ok(()),
        };
        out
    }
}

impl TraceStep {
    fn of(step: &Step, names: &Names) -> TraceStep {
        TraceStep {
            stage: step.point.name().to_owned(),
            header: step.header.map(TraceHeader::from),
            length: step.length,
            interface: names.interface(step.interface),
            tunnel_in: step.tunnel_in.map(|tunnel| names.tunnel(tunnel)),
            next: step.next.map(|next| names.next(next)),
            bucket: step.bucket.map(|bucket| bucket.0),
        }
    }

    /// What this stage changed.
    fn told(&self, before: Option<&TraceStep>) -> String {
        let mut parts = Vec::new();
        if before.is_none() {
            parts.push(format!("on {}", self.interface));
        }
        if let Some(tunnel) = &self.tunnel_in
            && before.is_none_or(|before| before.tunnel_in != self.tunnel_in)
        {
            parts.push(format!("out of tunnel {tunnel}"));
        }
        if let Some(next) = &self.next
            && before.is_none_or(|before| before.next != self.next)
        {
            parts.push(next.clone());
        }
        if let Some(bucket) = self.bucket {
            parts.push(format!("bucket {bucket}"));
        }
        if let Some(header) = &self.header {
            match before.and_then(|before| before.header.as_ref()) {
                Some(old) if old == header => {}
                Some(old) if (TraceHeader { hop_limit: header.hop_limit, ..old.clone() }) == *header => {
                    parts.push(format!("ttl {}", header.hop_limit));
                }
                _ => parts.push(format!("{}, {} bytes", header.text(), self.length)),
            }
        }
        parts.join(", ")
    }
}

impl TraceHeader {
    fn text(&self) -> String {
        let end = |ip: IpAddr, port: Option<u16>| match port {
            Some(port) => SocketAddr::new(ip, port).to_string(),
            None => ip.to_string(),
        };
        let (src, dst) =
            (end(self.src, self.ports.map(|(src, _)| src)), end(self.dst, self.ports.map(|(_, dst)| dst)));
        let mut out = format!("{} {src} > {dst}", self.protocol);
        let _ = match (self.spi, self.key) {
            (Some(spi), _) => write!(out, " spi {spi:#010x}"),
            (_, Some(key)) => write!(out, " key {key}"),
            _ => Ok(()),
        };
        if let Some(sequence) = self.sequence {
            let _ = write!(out, " seq {sequence}");
        }
        if let Some((kind, code)) = self.icmp {
            let _ = write!(out, " type {kind} code {code}");
        }
        let _ = write!(out, " ttl {}", self.hop_limit);
        out
    }
}
