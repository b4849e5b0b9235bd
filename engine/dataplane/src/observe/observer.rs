//! One worker's eyes.

use super::filter::Filter;
use super::headers::{Header, Layer, Upper, View};
use super::record::{Direction, Origin, Outcome, Place, Point, Record, Seen, Step};
use super::session::{Ends, ObserverLease, Order, Side, Tally, Watch};
use crate::context::Egress;
use crate::drop_reason::DropReason;
use crate::id::{Nanos, PortId};
use crate::limiter::TokenBucket;
use crate::snapshot::{Encapsulation, Vxlan};
use crate::stage::Verdict;
use crate::wire::flow::FlowKey;
use crate::wire::{Protocol, udp, vxlan};
use arrayvec::ArrayVec;
use std::sync::Arc;
use sync::ring::{Consumer, Producer};

/// Packets followed at once: more than are on their way in one poll.
const TRACKS: usize = 128;

/// Names a packet that is followed on its way through a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag(u16);

impl Tag {
    /// Not followed.
    pub const NONE: Tag = Tag(0);

    /// Its place among so many tracks.
    pub(crate) const fn place(self, tracks: usize) -> usize {
        self.0 as usize % tracks
    }
}

impl From<u16> for Tag {
    fn from(number: u16) -> Tag {
        Tag(number)
    }
}

/// A packet on its way.
struct Track {
    tag: Tag,
    view: View,
    record: Box<Record>,
}

/// See the module.
pub struct Observer {
    watch: Watch,
    filter: Filter,
    lease: ObserverLease,
    rate: TokenBucket,
    /// Out of tokens: nobody is followed until then.
    pause: Nanos,
    free: Consumer<Box<Record>>,
    full: Producer<Box<Record>>,
    /// Records taken and not used; taken again first.
    spare: ArrayVec<Box<Record>, { TRACKS + 1 }>,
    tracks: [Option<Track>; TRACKS],
    last: u16,
    tally: Arc<Tally>,
}

/// How long nobody is followed after the rate was exceeded.
const PAUSE: Nanos = Nanos::from_millis(1);

impl Observer {
    /// Eyes with the worker's ends of the rings.
    pub(super) fn new(
        order: &Order,
        lease: ObserverLease,
        free: Consumer<Box<Record>>,
        full: Producer<Box<Record>>,
        tally: Arc<Tally>,
    ) -> Observer {
        Observer {
            watch: order.watch,
            filter: order.filter.clone(),
            lease,
            rate: TokenBucket::new(order.rate, order.rate.div_ceil(10)),
            pause: Nanos(0),
            free,
            full,
            spare: ArrayVec::new(),
            tracks: [const { None }; TRACKS],
            last: 0,
            tally,
        }
    }

    /// Whether nobody looks any more.
    pub fn lapsed(&self, now: Nanos) -> bool {
        self.lease.lapsed(now)
    }

    /// A packet has come: a frame from a port, or an IP packet from elsewhere. Its tag goes with it in its metadata.
    pub fn received(&mut self, now: Nanos, origin: Origin, data: &[u8]) -> Tag {
        match (self.watch, origin) {
            (Watch::Port { port, directions }, Origin::Port(on)) => {
                if port == on && directions.has(Direction::Rx) {
                    self.copy(now, Place::Port(port), Direction::Rx, data);
                }
                Tag::NONE
            }
            (Watch::Trace | Watch::Drop(_), _) => self.follow(now, origin, data).unwrap_or(Tag::NONE),
            _ => Tag::NONE,
        }
    }

    /// A stage has said `verdict` of the packet.
    pub fn note(&mut self, now: Nanos, point: Point, tag: Tag, seen: Seen<'_>, verdict: Verdict) {
        if let Watch::Tunnel { ends, side, directions } = self.watch {
            if let (Ok(()), Some(direction)) = (verdict, ends.passed(side, point, seen))
                && directions.has(direction)
            {
                self.copy(now, Place::Tunnel(ends.id), direction, seen.data);
            }
            return;
        }
        let Some(track) = track(&mut self.tracks, tag) else { return };
        track.learn(point, seen);
        // A full list keeps its beginning; the outcome is told anyway.
        let _ = track.record.steps.try_push(Step::of(point, seen));
        let refused = self.filter.evaluate(&track.view) == Some(false);
        match verdict {
            Err(reason) => self.end(now, tag, Outcome::Dropped { at: point, reason }),
            Ok(()) if refused => self.forget(tag),
            Ok(()) => {}
        }
    }

    /// The packet ends between stages, after `at`.
    pub fn dropped(&mut self, now: Nanos, at: Point, tag: Tag, reason: DropReason) {
        self.end(now, tag, Outcome::Dropped { at, reason });
    }

    /// The packet waits, or another worker goes on with it.
    pub fn left(&mut self, now: Nanos, tag: Tag, outcome: Outcome) {
        self.end(now, tag, outcome);
    }

    /// The packet, now a frame, is given to `port`.
    pub fn transmit(&mut self, now: Nanos, port: PortId, tag: Tag, seen: Seen<'_>) {
        match self.watch {
            Watch::Port { port: watched, directions } => {
                if port == watched && directions.has(Direction::Tx) {
                    self.copy(now, Place::Port(port), Direction::Tx, seen.data);
                }
            }
            Watch::Trace => {
                let Some(track) = track(&mut self.tracks, tag) else { return };
                let step = Step { header: None, ..Step::of(Point::Transmit, seen) };
                let _ = track.record.steps.try_push(step);
                self.end(now, tag, Outcome::Sent(port));
            }
            Watch::Drop(_) => self.forget(tag),
            Watch::Tunnel { .. } => {}
        }
    }

    /// Begins to follow a packet that the filter may want.
    fn follow(&mut self, now: Nanos, origin: Origin, data: &[u8]) -> Option<Tag> {
        let view = if let Origin::Port(_) = origin { View::frame(data) } else { View::ip(data) };
        if self.filter.evaluate(&view) == Some(false) {
            return None;
        }
        if now < self.pause {
            self.tally.over_rate.add(1);
            return None;
        }
        let mut record = self.empty()?;
        let place = if let Origin::Port(port) = origin { Place::Port(port) } else { Place::Own };
        record.begin(now, place, Direction::Rx, data);
        record.origin = origin;
        self.last = self.last.checked_add(1).unwrap_or(1);
        let tag = Tag(self.last);
        let place = &mut self.tracks[usize::from(tag.0) % TRACKS];
        if let Some(old) = place.replace(Track { tag, view, record }) {
            // Its end was never told.
            self.tally.lost.add(1);
            self.recycle(old.record);
        }
        Some(tag)
    }

    /// The end of a packet's way: its record goes out if it is wanted.
    fn end(&mut self, now: Nanos, tag: Tag, outcome: Outcome) {
        let Some(Track { view, mut record, .. }) = taken(&mut self.tracks, tag) else { return };
        let wanted = match (self.watch, outcome) {
            (Watch::Trace, _) => true,
            (Watch::Drop(Some(wanted)), Outcome::Dropped { reason, .. }) => wanted == reason,
            (Watch::Drop(None), Outcome::Dropped { reason, .. }) => !reason.is_consumed(),
            _ => false,
        };
        if !wanted || !self.filter.matches(&view) {
            return self.recycle(record);
        }
        record.outcome = Some(outcome);
        self.publish(now, record);
    }

    /// The packet is not followed any further.
    fn forget(&mut self, tag: Tag) {
        if let Some(track) = taken(&mut self.tracks, tag) {
            self.recycle(track.record);
        }
    }

    /// Captures a packet that needs no following, if the filter wants it.
    fn copy(&mut self, now: Nanos, place: Place, direction: Direction, data: &[u8]) {
        let view = if let Place::Port(_) = place { View::frame(data) } else { View::ip(data) };
        if !self.filter.matches(&view) {
            return;
        }
        let Some(mut record) = self.empty() else { return };
        record.begin(now, place, direction, data);
        self.publish(now, record);
    }

    /// Sends a record on its way, within the rate.
    fn publish(&mut self, now: Nanos, record: Box<Record>) {
        self.tally.matched.add(1);
        if !self.rate.take(now) {
            self.tally.over_rate.add(1);
            self.pause = now.plus(PAUSE);
            return self.recycle(record);
        }
        // As many places as records: it cannot be full.
        if let Err(record) = self.full.push(record) {
            self.recycle(record);
        }
    }

    fn empty(&mut self) -> Option<Box<Record>> {
        let record = self.spare.pop().or_else(|| self.free.pop());
        self.tally.lost.add(u64::from(record.is_none()));
        record
    }

    fn recycle(&mut self, record: Box<Record>) {
        // A spare record is taken before a free one, so there are never more of them than tracks.
        let _ = self.spare.try_push(record);
    }
}

fn track(tracks: &mut [Option<Track>; TRACKS], tag: Tag) -> Option<&mut Track> {
    tracks[usize::from(tag.0) % TRACKS].as_mut().filter(|track| track.tag == tag)
}

fn taken(tracks: &mut [Option<Track>; TRACKS], tag: Tag) -> Option<Track> {
    tracks[usize::from(tag.0) % TRACKS].take_if(|track| track.tag == tag)
}

impl Track {
    /// What a stage has brought to light for the filter.
    fn learn(&mut self, point: Point, Seen { data, meta, .. }: Seen<'_>) {
        if point == Point::Decap {
            self.view.tunnels.rx = meta.tunnel_in;
            if meta.tunnel_in.is_some() {
                self.view.inner =
                    Header::of(data).map_or(Layer::Absent, |(header, _)| Layer::Present(header));
            } else if self.view.inner == Layer::Unknown {
                self.view.inner = Layer::Absent;
            }
        }
        if let Egress::Tunnel(id) = meta.egress {
            self.view.tunnels.tx = Some(id);
        }
    }
}

impl Step {
    fn of(point: Point, Seen { data, meta, next }: Seen<'_>) -> Step {
        let bucket = match (point, meta.egress) {
            (Point::Steer, Egress::Tunnel(_)) => FlowKey::of(data).ok().map(|flow| flow.bucket(0)),
            _ => None,
        };
        Step {
            point,
            header: Header::of(data).map(|(header, _)| header),
            length: data.len(),
            interface: meta.interface,
            tunnel_in: meta.tunnel_in,
            next,
            bucket,
        }
    }
}

impl Ends {
    /// Which way the packet goes if this is where the tunnel's `side` sees it.
    fn passed(&self, side: Side, point: Point, Seen { data, meta, .. }: Seen<'_>) -> Option<Direction> {
        match (side, point) {
            (Side::Inside, Point::Decap) if meta.tunnel_in == Some(self.id) => Some(Direction::Rx),
            (Side::Inside, Point::Forward) if meta.egress == Egress::Tunnel(self.id) => Some(Direction::Tx),
            (Side::Outside, Point::Parse) => self.carries(data, Direction::Rx).then_some(Direction::Rx),
            (Side::Outside, Point::Encap) => self.carries(data, Direction::Tx).then_some(Direction::Tx),
            _ => None,
        }
    }

    /// Whether an IP packet is one of this tunnel's by its endpoints, protocol and GRE key, VNI or UDP port.
    fn carries(&self, data: &[u8], direction: Direction) -> bool {
        let Some((header, payload)) = Header::of(data) else { return false };
        let ends = match direction {
            Direction::Rx => (self.remote, self.local),
            Direction::Tx => (self.local, self.remote),
        };
        let protocol = match (self.encapsulation, header.upper) {
            (Encapsulation::Gre { key, .. }, Upper::Gre { key: found, .. }) => key == found,
            (Encapsulation::Esp, _) => header.protocol == Protocol::ESP,
            (Encapsulation::IpIp, _) => matches!(header.protocol, Protocol::IPV4 | Protocol::IPV6),
            (Encapsulation::EspUdp(settings), Upper::Ports { src, dst }) => {
                let far = if direction == Direction::Rx { src } else { dst };
                header.protocol == Protocol::UDP && far == settings.remote_port
            }
            (Encapsulation::Vxlan(Vxlan { vni, .. }), Upper::Ports { dst, .. }) => {
                let datagram = payload.get(udp::HEADER_LENGTH..).unwrap_or_default();
                header.protocol == Protocol::UDP && dst == vxlan::PORT && vxlan::parse(datagram) == Ok(vni)
            }
            _ => false,
        };
        protocol && (header.src, header.dst) == ends
    }
}
