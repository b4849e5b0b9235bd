//! The pcapng capture file format (draft-ietf-opsawg-pcapng), as much of it as is written here. All numbers are in the
//! byte order of this machine, which the section header tells.

/// Seconds are divided by 10 to the power of this: nanoseconds (if_tsresol, §4.2).
const NANOSECONDS: u8 = 9;

/// What the packets of an interface begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet frame (LINKTYPE_ETHERNET).
    Ethernet,
    /// An IPv4 or IPv6 header (LINKTYPE_RAW).
    Ip,
}

/// An interface description block (§4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// if_name.
    pub name: String,
    /// if_description.
    pub description: String,
    /// What its packets begin with.
    pub link: Link,
}

/// An enhanced packet block (§4.3).
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// Which interface, counted from 0.
    pub interface: u32,
    /// Nanoseconds of UNIX time.
    pub unix_ns: u64,
    /// The captured bytes.
    pub data: &'a [u8],
    /// How many there were.
    pub length: usize,
    /// Coming in, going out, or neither.
    pub inbound: Option<bool>,
    /// The worker, as epb_queue.
    pub worker: u16,
    /// Packets lost before this one and after the one before it.
    pub lost: u64,
    /// opt_comment.
    pub comment: Option<String>,
}

/// Options of a block, each padded to 32 bits (§3.5).
#[derive(Default)]
struct Options(Vec<u8>);

impl Options {
    fn put(mut self, code: u16, value: &[u8]) -> Options {
        // Names and comments made here are far shorter.
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.0.extend(code.to_ne_bytes());
        self.0.extend(length.to_ne_bytes());
        self.0.extend(&value[..length.into()]);
        pad(&mut self.0);
        self
    }

    /// opt_endofopt behind them, if there are any.
    fn end(mut self) -> Vec<u8> {
        if !self.0.is_empty() {
            self.0.extend([0; 4]);
        }
        self.0
    }
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A block: type, length, body, length again (§3.1). The body is padded already.
fn block(out: &mut Vec<u8>, kind: u32, body: &[&[u8]]) {
    let length = 12 + body.iter().map(|part| part.len()).sum::<usize>() as u32;
    out.extend(kind.to_ne_bytes());
    out.extend(length.to_ne_bytes());
    body.iter().for_each(|part| out.extend(*part));
    out.extend(length.to_ne_bytes());
}

/// The section header block (§4.1), which a file begins with.
pub fn section(out: &mut Vec<u8>, application: &str) {
    let options = Options::default().put(4, application.as_bytes()).end();
    let (magic, major, minor) = (0x1a2b_3c4d_u32.to_ne_bytes(), 1_u16.to_ne_bytes(), 0_u16.to_ne_bytes());
    let unknown_length = u64::MAX.to_ne_bytes();
    block(out, 0x0a0d_0d0a, &[&magic, &major, &minor, &unknown_length, &options]);
}

/// An interface, before its packets. `snaplen` is the most bytes kept of a packet.
pub fn interface(out: &mut Vec<u8>, interface: &Interface, snaplen: u32, filter: &str) {
    let mut options = Options::default()
        .put(2, interface.name.as_bytes())
        .put(3, interface.description.as_bytes())
        .put(9, &[NANOSECONDS]);
    if !filter.is_empty() {
        // The first byte says that a string follows.
        options = options.put(11, &[&[0], filter.as_bytes()].concat());
    }
    let link: u16 = match interface.link {
        Link::Ethernet => 1,
        Link::Ip => 101,
    };
    let (link, reserved) = (link.to_ne_bytes(), [0; 2]);
    block(out, 1, &[&link, &reserved, &snaplen.to_ne_bytes(), &options.end()]);
}

/// A packet.
pub fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let mut options = Options::default();
    if let Some(comment) = &packet.comment {
        options = options.put(1, comment.as_bytes());
    }
    if let Some(inbound) = packet.inbound {
        let flags: u32 = if inbound { 1 } else { 2 };
        options = options.put(2, &flags.to_ne_bytes());
    }
    if packet.lost > 0 {
        options = options.put(4, &packet.lost.to_ne_bytes());
    }
    options = options.put(6, &u32::from(packet.worker).to_ne_bytes());
    let (high, low) = ((packet.unix_ns >> 32) as u32, packet.unix_ns as u32);
    let mut fixed = Vec::with_capacity(20);
    for number in [packet.interface, high, low, packet.data.len() as u32, packet.length as u32] {
        fixed.extend(number.to_ne_bytes());
    }
    let padding = &[0; 3][..packet.data.len().next_multiple_of(4) - packet.data.len()];
    block(out, 6, &[&fixed, packet.data, padding, &options.end()]);
}

/// What became of an interface's packets, at the end (interface statistics block, §4.6).
pub fn statistics(out: &mut Vec<u8>, interface: u32, unix_ns: u64, received: u64, lost: u64) {
    let (high, low) = ((unix_ns >> 32) as u32, unix_ns as u32);
    let time = [high.to_ne_bytes(), low.to_ne_bytes()].concat();
    let options =
        Options::default().put(3, &time).put(4, &received.to_ne_bytes()).put(5, &lost.to_ne_bytes()).end();
    block(out, 5, &[&interface.to_ne_bytes(), &time, &options]);
}
