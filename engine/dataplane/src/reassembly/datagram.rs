//! The fragments of one datagram, in order, and the packet they make.

use super::piece::Piece;
use crate::drop_reason::DropReason;
use crate::packet::{Packet, PacketPool};
use crate::wire::ipv4::{Fragmentation, Ipv4Header};
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::{Ecn, TrafficClass};
use arrayvec::ArrayVec;

/// Most fragments of a datagram: 9,000 bytes in fragments for the least MTU that IPv4 hosts must take (576, RFC 791
/// §3.1).
pub const FRAGMENTS: usize = 17;

struct Held<P> {
    packet: P,
    piece: Piece,
}

/// What has come of a datagram.
pub struct Datagram<P> {
    /// By offset; no two overlap.
    held: ArrayVec<Held<P>, FRAGMENTS>,
    /// Bytes of the payload, once the last fragment has come.
    length: Option<usize>,
    /// Bytes of it that are here.
    here: usize,
    /// Fragments overlapped, or were too many: nothing of this datagram is of use (RFC 8200 §4.5, RFC 5722 §4).
    spoilt: Option<DropReason>,
}

impl<P> Default for Datagram<P> {
    fn default() -> Datagram<P> {
        Datagram { held: ArrayVec::new(), length: None, here: 0, spoilt: None }
    }
}

impl<P: Packet> Datagram<P> {
    /// Fragments held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether every byte is here.
    pub fn is_complete(&self) -> bool {
        self.length == Some(self.here)
    }

    /// Whether what is held is of no use any more.
    pub fn is_spoilt(&self) -> bool {
        self.spoilt.is_some()
    }

    /// Takes a fragment.
    ///
    /// # Errors
    /// Why it ends here, and with it the whole datagram if that [is spoilt](Datagram::is_spoilt) now.
    pub fn insert(&mut self, packet: P, piece: Piece) -> Result<(), DropReason> {
        if let Some(reason) = self.spoilt {
            return Err(reason);
        }
        let at = self.held.partition_point(|held| held.piece.offset < piece.offset);
        // An exact copy is a duplicate of the network, not an attack (RFC 8200 §4.5).
        if let Some(twin) = self.held.get(at)
            && (twin.piece.offset, twin.piece.more) == (piece.offset, piece.more)
            && twin.packet.data()[twin.piece.data.clone()] == packet.data()[piece.data.clone()]
        {
            return Err(DropReason::FragmentDuplicate);
        }
        let overlaps = self.held[..at].last().is_some_and(|before| before.piece.end() > piece.offset)
            || self.held.get(at).is_some_and(|after| after.piece.offset < piece.end());
        let last = self.held.last().map_or(0, |held| held.piece.end());
        // Two ends, or bytes behind the end.
        let contradicts = match self.length {
            Some(length) => piece.end() > length || !piece.more && piece.end() != length,
            None => !piece.more && last > piece.end(),
        };
        if overlaps || contradicts {
            return Err(self.spoil(DropReason::FragmentOverlap));
        }
        if self.held.is_full() {
            return Err(self.spoil(DropReason::FragmentTooMany));
        }
        if !piece.more {
            self.length = Some(piece.end());
        }
        self.here += piece.data.len();
        self.held.insert(at, Held { packet, piece });
        Ok(())
    }

    fn spoil(&mut self, reason: DropReason) -> DropReason {
        self.spoilt = Some(reason);
        reason
    }

    /// Gives up what is held, and returns how many fragments that was.
    pub fn clear(&mut self) -> usize {
        let count = self.held.len();
        self.held.clear();
        count
    }

    /// Joins all fragments in the buffer of the first, or in a fresh one if they do not fit it. The rest is freed.
    ///
    /// # Errors
    /// If no buffer holds the whole, or the fragments' ECN fields contradict each other. All are freed then.
    pub fn join<A: PacketPool<Packet = P>>(&mut self, pool: &mut A) -> Result<P, DropReason> {
        let ecn = self.congestion();
        let mut held = self.held.drain(..);
        let Held { packet: mut whole, piece } = held.next().ok_or(DropReason::FragmentMalformed)?;
        let ecn = ecn?;
        let surplus = whole.len() - piece.data.end;
        whole.trim(surplus);
        let length = self.here - piece.data.len();
        let mut at = whole.len();
        if whole.append(length).is_none() {
            let mut fresh = pool.alloc_large().ok_or(DropReason::PoolExhausted)?;
            let room = fresh.append(at + length).ok_or(DropReason::FragmentTooMany)?;
            room[..at].copy_from_slice(whole.data());
            whole = fresh;
        }
        for Held { packet, piece } in held {
            let bytes = &packet.data()[piece.data];
            whole.data_mut()[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        }
        unfragment(&mut whole, piece.data.start, ecn).ok_or(DropReason::FragmentMalformed)?;
        Ok(whole)
    }

    /// RFC 3168 §5.3: congestion of one fragment is congestion of the whole, unless another says that its transport
    /// would not understand. `None` leaves the first one's field.
    fn congestion(&self) -> Result<Option<Ecn>, DropReason> {
        let has = |ecn: Ecn| self.held.iter().any(|held| held.piece.ecn == ecn);
        match (has(Ecn::Ce), has(Ecn::NotEct)) {
            (true, true) => Err(DropReason::CongestionLost),
            (true, false) => Ok(Some(Ecn::Ce)),
            (false, _) => Ok(None),
        }
    }
}

/// Makes the header say that the packet is whole. `headers` is the length of all that precedes the data.
fn unfragment<P: Packet>(packet: &mut P, headers: usize, ecn: Option<Ecn>) -> Option<()> {
    let marked = |class: TrafficClass| ecn.map_or(class, |ecn| class.with_ecn(ecn));
    let length = packet.len();
    if packet.data().first()? >> 4 == 4 {
        let header = Ipv4Header::of(packet.data_mut()).ok()?;
        header.set_total_length(u16::try_from(length).ok()?);
        // It was fragmented, so it may be again.
        header.set_fragmentation(Fragmentation::default());
        header.set_traffic_class(marked(header.traffic_class()));
        return Some(());
    }
    let place = ipv6::fragment_place(packet.data()).ok()??;
    let fragment_header = headers - place.at;
    let data = packet.data_mut();
    data[place.named_at] = place.next_header.0;
    // What precedes the fragment header moves over it.
    data.copy_within(..place.at, fragment_header);
    packet.adj(fragment_header);
    let payload = packet.len() - ipv6::HEADER_LENGTH;
    let header = Ipv6Header::of(packet.data_mut()).ok()?;
    header.set_payload_length(u16::try_from(payload).ok()?);
    header.set_traffic_class(marked(header.traffic_class()));
    Some(())
}
