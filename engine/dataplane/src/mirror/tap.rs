//! One worker's mirror.

use super::copy::{Copied, Fate, Ingress, Lead, SNAP, Samples};
use super::sample::{FlowSampler, PacketSampler, Rate, Threshold, flow_of};
use super::session::Tally;
use crate::batch::Batch;
use crate::context::{Context, Egress, Meta};
use crate::drop_reason::DropReason;
use crate::flow::AnyTuple;
use crate::id::Nanos;
use crate::observe::{Next, Tag};
use crate::packet::{BURST, Packet, PacketPool};
use crate::stage::Verdict;
use arrayvec::ArrayVec;
use std::sync::Arc;
use sync::ring::{Consumer, Producer};

/// Packets followed at once: those of a burst, and as many that are joined or sent meanwhile.
const TRACKS: usize = 2 * BURST;
/// A sampled packet's copy must hold this much behind the beginning of its upper-layer header: more than rules, sessions and
/// ICMP errors look at.
const UPPER: usize = 20;

/// What is sampled.
pub(super) enum Chosen {
    /// Of live traffic.
    Sampled { flows: FlowSampler, rate: Rate, packets: PacketSampler },
    /// Everything, by a shadow.
    All,
}

struct Track {
    tag: Tag,
    lead: Option<Lead>,
    copied: Box<Copied>,
}

/// See the module.
pub struct Mirror {
    chosen: Chosen,
    free: Consumer<Box<Copied>>,
    full: Producer<Box<Copied>>,
    /// Copies taken and not used; taken again first.
    spare: ArrayVec<Box<Copied>, TRACKS>,
    tracks: [Option<Track>; TRACKS],
    last: u16,
    sequence: u32,
    tally: Arc<Tally>,
}

impl Mirror {
    pub(super) fn new(
        chosen: Chosen,
        free: Consumer<Box<Copied>>,
        full: Producer<Box<Copied>>,
        tally: Arc<Tally>,
    ) -> Mirror {
        let tracks = [const { None }; TRACKS];
        // Far from the numbers of the mirror before.
        let sequence = match &chosen {
            Chosen::Sampled { flows, .. } => (flows.epoch() as u32) << 22,
            Chosen::All => 0,
        };
        Mirror { chosen, free, full, spare: ArrayVec::new(), tracks, last: 0, sequence, tally }
    }

    /// Samples the packets of a burst, which are in the clear and not judged yet.
    pub(crate) fn tap<A: PacketPool>(&mut self, context: &Context<A>, batch: &mut Batch<A::Packet>) {
        let threshold = match &mut self.chosen {
            Chosen::Sampled { rate, packets, .. } => {
                let threshold = rate.get();
                packets.adopt(threshold);
                threshold
            }
            Chosen::All => Threshold::of(1.0),
        };
        self.tally.seen.add(batch.len() as u64);
        for (packet, meta) in batch.iter_mut() {
            meta.mirrored = Tag::NONE;
            if meta.own || meta.link_local || !matches!(meta.egress, Egress::Unknown) {
                continue;
            }
            let samples = match &mut self.chosen {
                Chosen::Sampled { flows, packets, .. } => {
                    let flow = flow_of(packet.data(), meta);
                    let flow = flow.is_some_and(|flow| flows.takes(&flow, threshold));
                    Samples { flow, packet: packets.takes() }
                }
                Chosen::All => Samples { flow: true, packet: false },
            };
            if samples.flow || samples.packet {
                meta.mirrored = self.follow(context, packet, meta, samples, threshold).unwrap_or(Tag::NONE);
            }
        }
    }

    /// Begins to follow a sampled packet.
    #[cold]
    fn follow<A: PacketPool>(
        &mut self,
        context: &Context<A>,
        packet: &A::Packet,
        meta: &Meta,
        samples: Samples,
        threshold: Threshold,
    ) -> Option<Tag> {
        let data = packet.data();
        let live = matches!(self.chosen, Chosen::Sampled { .. });
        let flow = flow_of(data, meta)?;
        if live && is_this_engines(context, meta, &flow) {
            return None;
        }
        let captured = data.len().min(SNAP);
        let whole_head = captured == data.len() || usize::from(meta.upper) + UPPER <= SNAP;
        self.tally.too_long.add(u64::from(samples.flow && !whole_head));
        let samples = Samples { flow: samples.flow && whole_head, ..samples };
        let captured = if samples.flow { captured } else { 0 };
        self.tally.flow_packets.add(u64::from(samples.flow));
        self.tally.flow_bytes.add(captured as u64);
        self.tally.packets.add(u64::from(samples.packet));
        self.sequence = self.sequence.wrapping_add(1);
        let mut copied = self.empty()?;
        copied.at = context.now;
        copied.sequence = self.sequence;
        copied.ingress = meta.tunnel_in.map_or(Ingress::Interface(meta.interface), Ingress::Tunnel);
        (copied.samples, copied.threshold) = (samples, threshold);
        copied.in_session = context.sessions.as_ref().is_some_and(|sessions| sessions.knows(&flow));
        (copied.length, copied.protocol) = (data.len() as u16, meta.protocol.0);
        copied.residence = None;
        copied.captured = captured as u8;
        copied.bytes[..captured].copy_from_slice(&data[..captured]);
        self.last = self.last.checked_add(1).unwrap_or(1);
        let tag = Tag::from(self.last);
        if let Some(old) = self.tracks[tag.place(TRACKS)].replace(Track { tag, lead: None, copied }) {
            // Its end was never told.
            self.tally.lost.add(1);
            self.recycle(old.copied);
        }
        Some(tag)
    }

    /// A stage has said `verdict` of a packet that goes `next`.
    pub(crate) fn note(&mut self, tag: Tag, next: Option<Next>, verdict: Verdict) {
        match verdict {
            Err(reason) => self.dropped(tag, reason),
            Ok(()) => {
                if let Some(track) = self.track(tag) {
                    track.lead = Lead::learn(track.lead, next);
                }
            }
        }
    }

    /// The packet ends.
    pub(crate) fn dropped(&mut self, tag: Tag, reason: DropReason) {
        self.end(tag, |_| Fate::Dropped(reason), None);
    }

    /// The packet is sent; `residence` is how long it was here.
    pub(crate) fn sent(&mut self, tag: Tag, residence: Nanos) {
        self.end(tag, |lead| Fate::Forwarded(lead.unwrap_or(Lead::Answer)), Some(residence));
    }

    /// The packet waits: for a neighbour, a MARK or a shaper.
    pub(crate) fn held(&mut self, tag: Tag) {
        self.end(tag, |lead| Fate::Forwarded(lead.unwrap_or(Lead::Answer)), None);
    }

    fn track(&mut self, tag: Tag) -> Option<&mut Track> {
        self.tracks[tag.place(TRACKS)].as_mut().filter(|track| track.tag == tag)
    }

    fn end(&mut self, tag: Tag, fate: impl FnOnce(Option<Lead>) -> Fate, residence: Option<Nanos>) {
        let place = &mut self.tracks[tag.place(TRACKS)];
        let Some(Track { lead, mut copied, .. }) = place.take_if(|track| track.tag == tag) else { return };
        copied.fate = fate(lead);
        copied.residence = residence;
        // As many places as copies: it cannot be full.
        if let Err(copied) = self.full.push(copied) {
            self.recycle(copied);
        }
    }

    fn empty(&mut self) -> Option<Box<Copied>> {
        let copied = self.spare.pop().or_else(|| self.free.pop());
        self.tally.lost.add(u64::from(copied.is_none()));
        copied
    }

    fn recycle(&mut self, copied: Box<Copied>) {
        // A spare copy is taken before a free one, so there are never more of them than tracks.
        let _ = self.spare.try_push(copied);
    }
}

/// Whether a packet is for this engine itself, or was handed over by the other one of its site.
fn is_this_engines<A: PacketPool>(context: &Context<A>, meta: &Meta, flow: &AnyTuple) -> bool {
    let snapshot = &context.snapshot;
    let from_site = || snapshot.interfaces.get(meta.interface.index()).is_some_and(|i| i.site_link);
    let (src, dst) = flow.addresses();
    meta.tunnel_in.is_none() && from_site() || snapshot.is_local(dst) || snapshot.is_local(src)
}
