//! Copies between two engines, version 1: records one behind the other, numbers in network order. Interfaces, sites and drop
//! reasons are places in lists of names that the sender has told before, for the two engines number them differently.
//!
//! ```text
//! length 2 | worker 1 | flags 1 | sequence 4 | threshold 8 | packet length 2 | protocol 1 | residence ns 4 |
//! ingress 2 | verdict 1 and what it takes | head
//! ```
//! `length` counts what follows it. Flags from the lowest: flow sample, packet sample, in session, from a site, has a
//! residence. Verdicts: 0 dropped, reason 2; 1 to a site, 2; 2 and 3 to a neighbour, interface 2, IPv4 4 or IPv6 16; 4 an
//! answer.

use super::copy::{SNAP, Samples};
use super::sample::Threshold;
use std::net::IpAddr;

/// The longest record.
pub const RECORD_MAX: usize = 2 + 23 + 2 + 1 + 18 + SNAP;

/// Where a packet came in: a place in a list of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An interface.
    Interface(u16),
    /// Out of a tunnel from this site.
    Site(u16),
}

/// What its sender did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It ended for this reason.
    Dropped(u16),
    /// It went to this site.
    Site(u16),
    /// It went to this neighbour.
    Neighbor {
        /// Its link.
        interface: u16,
        /// Its address.
        ip: IpAddr,
    },
    /// It was answered.
    Answer,
}

/// A copy as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// The sender's worker.
    pub worker: u8,
    /// Counts that worker's copies.
    pub sequence: u32,
    /// What it is in.
    pub samples: Samples,
    /// The probability of each.
    pub threshold: Threshold,
    /// The sender knew a session of its flow when it came.
    pub in_session: bool,
    /// Where it came in.
    pub from: Entry,
    /// Bytes of the IP packet.
    pub length: u16,
    /// What it carries.
    pub protocol: u8,
    /// From RX to TX, nanoseconds, of one that was sent.
    pub residence_ns: Option<u32>,
    /// What became of it.
    pub verdict: Verdict,
    /// Its first bytes, from the IP header on.
    pub head: &'a [u8],
}

/// Why octets are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// They end too early.
    #[error("a record is cut off")]
    Truncated,
    /// No such verdict, or flags that mean nothing.
    #[error("a record says {0:#04x}, which means nothing")]
    Unknown(u8),
    /// It copies more of a packet than there is, or than is ever copied.
    #[error("a record copies {0} bytes of a packet")]
    Head(usize),
}

const FLOW: u8 = 1;
const PACKET: u8 = 2;
const IN_SESSION: u8 = 4;
const FROM_SITE: u8 = 8;
const RESIDENCE: u8 = 16;

impl<'a> Told<'a> {
    /// Appends the record.
    ///
    /// # Panics
    /// If `head` is longer than [`SNAP`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.head.len() <= SNAP, "no more is ever copied");
        let start = out.len();
        out.extend([0, 0, self.worker, self.flags()]);
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.threshold.0.to_be_bytes());
        out.extend(self.length.to_be_bytes());
        out.push(self.protocol);
        out.extend(self.residence_ns.unwrap_or(0).to_be_bytes());
        let (Entry::Interface(from) | Entry::Site(from)) = self.from;
        out.extend(from.to_be_bytes());
        let mut place = |number: u8, place: u16| {
            out.push(number);
            out.extend(place.to_be_bytes());
        };
        match self.verdict {
            Verdict::Dropped(reason) => place(0, reason),
            Verdict::Site(site) => place(1, site),
            Verdict::Neighbor { interface, ip: IpAddr::V4(ip) } => {
                place(2, interface);
                out.extend(ip.octets());
            }
            Verdict::Neighbor { interface, ip: IpAddr::V6(ip) } => {
                place(3, interface);
                out.extend(ip.octets());
            }
            Verdict::Answer => out.push(4),
        }
        out.extend(self.head);
        let length = (out.len() - start - 2) as u16;
        out[start..start + 2].copy_from_slice(&length.to_be_bytes());
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        flag(self.samples.flow, FLOW)
            | flag(self.samples.packet, PACKET)
            | flag(self.in_session, IN_SESSION)
            | flag(matches!(self.from, Entry::Site(_)), FROM_SITE)
            | flag(self.residence_ns.is_some(), RESIDENCE)
    }

    /// The first record of `octets`, and what is behind it.
    ///
    /// # Errors
    /// If there is none.
    pub fn decode(octets: &'a [u8]) -> Result<(Told<'a>, &'a [u8]), RecordError> {
        let (length, rest) = octets.split_first_chunk().ok_or(RecordError::Truncated)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (record, rest) = rest.split_at_checked(length).ok_or(RecordError::Truncated)?;
        let mut fields = Fields(record);
        let [worker, flags] = fields.take()?;
        if flags & !(FLOW | PACKET | IN_SESSION | FROM_SITE | RESIDENCE) != 0 {
            return Err(RecordError::Unknown(flags));
        }
        let sequence = u32::from_be_bytes(fields.take()?);
        let threshold = Threshold(u64::from_be_bytes(fields.take()?));
        let (length, [protocol]) = (fields.number()?, fields.take()?);
        let residence = u32::from_be_bytes(fields.take()?);
        let from = fields.number()?;
        let from = if flags & FROM_SITE != 0 { Entry::Site(from) } else { Entry::Interface(from) };
        let verdict = fields.verdict()?;
        let head = fields.0;
        if head.len() > usize::from(length).min(SNAP) {
            return Err(RecordError::Head(head.len()));
        }
        let told = Told {
            worker,
            sequence,
            samples: Samples { flow: flags & FLOW != 0, packet: flags & PACKET != 0 },
            threshold,
            in_session: flags & IN_SESSION != 0,
            from,
            length,
            protocol,
            residence_ns: (flags & RESIDENCE != 0).then_some(residence),
            verdict,
            head,
        };
        Ok((told, rest))
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(RecordError::Truncated)?;
        self.0 = rest;
        Ok(*field)
    }

    fn number(&mut self) -> Result<u16, RecordError> {
        self.take().map(u16::from_be_bytes)
    }

    fn verdict(&mut self) -> Result<Verdict, RecordError> {
        let [verdict] = self.take()?;
        Ok(match verdict {
            0 => Verdict::Dropped(self.number()?),
            1 => Verdict::Site(self.number()?),
            2 => Verdict::Neighbor { interface: self.number()?, ip: self.take::<4>()?.into() },
            3 => Verdict::Neighbor { interface: self.number()?, ip: self.take::<16>()?.into() },
            4 => Verdict::Answer,
            other => return Err(RecordError::Unknown(other)),
        })
    }
}

/// Octets from another engine: every record that is read is one that could be sent, and reads back as itself.
pub fn fuzz(data: &[u8]) {
    let mut rest = data;
    while let Ok((told, behind)) = Told::decode(rest) {
        let mut again = Vec::new();
        told.encode(&mut again);
        assert!(again.len() <= RECORD_MAX);
        let (read, nothing) = Told::decode(&again).expect("what was encoded");
        let residence_ns = told.residence_ns;
        assert_eq!((read, nothing), (Told { residence_ns, ..told }, &[][..]));
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn told(verdict: Verdict, head: &[u8]) -> Told<'_> {
        Told {
            worker: 3,
            sequence: 70_000,
            samples: Samples { flow: true, packet: false },
            threshold: Threshold::of(0.05),
            in_session: true,
            from: Entry::Site(7),
            length: 1400,
            protocol: 17,
            residence_ns: Some(12_345),
            verdict,
            head,
        }
    }

    fn all() -> Vec<Told<'static>> {
        let ip = |ip: IpAddr| Verdict::Neighbor { interface: 2, ip };
        vec![
            told(Verdict::Dropped(40), &[0x45; SNAP]),
            told(Verdict::Site(1), &[0x45, 0, 1]),
            told(ip(Ipv4Addr::new(10, 1, 0, 9).into()), &[]),
            Told { residence_ns: None, in_session: false, ..told(ip(Ipv6Addr::LOCALHOST.into()), &[0x60]) },
            Told { from: Entry::Interface(0), ..told(Verdict::Answer, &[1]) },
        ]
    }

    #[test]
    fn records_read_back() {
        let mut octets = Vec::new();
        all().iter().for_each(|told| told.encode(&mut octets));
        let mut rest = octets.as_slice();
        for told in all() {
            let (read, behind) = Told::decode(rest).expect("a record");
            assert_eq!(read, told);
            rest = behind;
        }
        assert!(rest.is_empty());
        fuzz(&octets);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let mut octets = Vec::new();
        all()[1].encode(&mut octets);
        for length in 0..octets.len() {
            assert_eq!(Told::decode(&octets[..length]), Err(RecordError::Truncated), "{length} octets");
        }
        let changed = |at: usize, to: u8| {
            let mut octets = octets.clone();
            octets[at] = to;
            Told::decode(&octets).map(drop)
        };
        assert_eq!(changed(3, 0x80), Err(RecordError::Unknown(0x80)));
        assert_eq!(changed(25, 9), Err(RecordError::Unknown(9)));
        assert_eq!(
            changed(17, 2).and(changed(16, 0)),
            Ok(()),
            "a length of 2 is below the head's 3, with 5 · 256"
        );
        let mut short = octets.clone();
        short[16..18].copy_from_slice(&[0, 2]);
        assert_eq!(Told::decode(&short), Err(RecordError::Head(3)));
    }
}
