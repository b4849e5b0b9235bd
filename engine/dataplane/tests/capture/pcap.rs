//! Packets out of capture files, in both formats: libpcap's and pcapng (draft-ietf-opsawg-pcap, -pcapng).

/// What a packet begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// This many bytes, then an IP header.
    Ip(usize),
    /// Something else, by its number.
    Other(u16),
}

fn link(number: u16) -> Link {
    match number {
        1 => Link::Ethernet,
        0 | 108 => Link::Ip(4),
        12 | 101 | 228 | 229 => Link::Ip(0),
        113 => Link::Ip(16),
        276 => Link::Ip(20),
        other => Link::Other(other),
    }
}

/// A packet of a capture.
pub struct Captured<'a> {
    /// What it begins with.
    pub link: Link,
    /// When, nanoseconds of the capture's own clock.
    pub at: u64,
    /// Its bytes.
    pub packet: &'a [u8],
}

/// The packets in a file, as far as it goes; `None` if it is no capture.
pub fn packets(file: &[u8]) -> Option<Vec<Captured<'_>>> {
    match file.get(..4)? {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => classic(file, false),
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => classic(file, true),
        [0x0a, 0x0d, 0x0d, 0x0a] => Some(blocks(file)),
        _ => None,
    }
}

fn number(file: &[u8], at: usize, big: bool) -> Option<usize> {
    let bytes = file.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) } as usize)
}

fn classic(file: &[u8], big: bool) -> Option<Vec<Captured<'_>>> {
    let link = link(number(file, 20, big)? as u16);
    let nanos = matches!(file.get(..4)?, [0x4d, 0x3c, 0xb2, 0xa1] | [0xa1, 0xb2, 0x3c, 0x4d]);
    let unit = if nanos { 1 } else { 1000 };
    let (mut at, mut found) = (24, Vec::new());
    while let Some(length) = number(file, at + 8, big) {
        let Some(packet) = file.get(at + 16..at + 16 + length) else { break };
        let (seconds, part) = (number(file, at, big)? as u64, number(file, at + 4, big)? as u64);
        found.push(Captured { link, at: seconds * 1_000_000_000 + part * unit, packet });
        at += 16 + length;
    }
    Some(found)
}

/// An interface's clock: ticks a second (if_tsresol, a microsecond without it).
fn ticks(options: &[u8], big: bool) -> u64 {
    let mut at = 0;
    let short = |at: usize| {
        let bytes = options.get(at..at + 2)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    while let (Some(code), Some(length)) = (short(at), short(at + 2)) {
        match (code, options.get(at + 4)) {
            (9, Some(&power)) if power & 0x80 != 0 => return 1 << (power & 0x3f),
            (9, Some(&power)) => return 10u64.pow(u32::from(power.min(18))),
            (0, _) => break,
            _ => at += 4 + usize::from(length).next_multiple_of(4),
        }
    }
    1_000_000
}

fn blocks(file: &[u8]) -> Vec<Captured<'_>> {
    let (mut at, mut big, mut links, mut found) = (0, false, Vec::new(), Vec::new());
    while let Some(kind) = number(file, at, big) {
        if kind == 0x0a0d_0d0a {
            big = file.get(at + 8..at + 12) == Some(&[0x1a, 0x2b, 0x3c, 0x4d]);
            links.clear();
        }
        let Some(length) = number(file, at + 4, big).filter(|length| *length >= 12) else { break };
        let body = at + 8;
        match kind {
            1 => {
                let number = number(file, body, big).unwrap_or(0);
                let options = file.get(body + 8..(at + length).saturating_sub(4)).unwrap_or_default();
                links.push((
                    link(if big { (number >> 16) as u16 } else { number as u16 }),
                    ticks(options, big),
                ));
            }
            // Enhanced packet: interface, timestamp, captured and original length.
            6 => {
                let interface = number(file, body, big).and_then(|n| links.get(n)).copied();
                let captured = number(file, body + 12, big).unwrap_or(0);
                let half = |at| number(file, at, big).unwrap_or(0) as u128;
                let time = half(body + 4) << 32 | half(body + 8);
                if let (Some((link, ticks)), Some(packet)) =
                    (interface, file.get(body + 20..body + 20 + captured))
                {
                    let at = (time * 1_000_000_000 / u128::from(ticks)) as u64;
                    found.push(Captured { link, at, packet });
                }
            }
            _ => {}
        }
        at += length;
    }
    found
}
