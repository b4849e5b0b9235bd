//! Which packets arrived at their hosts, how often, and in which order. A record that checkers ask.

use crate::hosts::PacketId;

/// How a packet arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// It had arrived before.
    pub again: bool,
    /// A later one of its flow arrived before it.
    pub overtaken: bool,
}

#[derive(Clone, Debug, Default)]
struct Flow {
    seen: Vec<u64>,
    next: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Deliveries {
    flows: Vec<Flow>,
    /// Packets that arrived.
    pub count: u64,
}

impl Deliveries {
    /// Notes an arrival.
    pub fn note(&mut self, packet: PacketId) -> Arrival {
        let flow = packet.flow as usize;
        if self.flows.len() <= flow {
            self.flows.resize_with(flow + 1, Flow::default);
        }
        let flow = &mut self.flows[flow];
        let (word, bit) = (packet.number as usize / 64, 1 << (packet.number % 64));
        if flow.seen.len() <= word {
            flow.seen.resize(word + 1, 0);
        }
        let arrival = Arrival { again: flow.seen[word] & bit != 0, overtaken: packet.number < flow.next };
        flow.seen[word] |= bit;
        flow.next = flow.next.max(packet.number + 1);
        self.count += 1;
        arrival
    }

    /// How many packets of a flow have arrived.
    pub fn count_of(&self, flow: u32) -> u32 {
        self.flows.get(flow as usize).map_or(0, |flow| flow.seen.iter().map(|word| word.count_ones()).sum())
    }

    /// Whether a packet has arrived.
    pub fn has(&self, packet: PacketId) -> bool {
        let word = self.flows.get(packet.flow as usize).and_then(|f| f.seen.get(packet.number as usize / 64));
        word.is_some_and(|word| word & 1 << (packet.number % 64) != 0)
    }
}
