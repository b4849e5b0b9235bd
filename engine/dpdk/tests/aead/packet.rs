//! A packet buffer for jumbo frames.

use dataplane::packet::Packet;

const ROOM: usize = 64;

/// Bytes with headroom and tailroom.
pub struct Jumbo {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Jumbo {
    pub fn new(bytes: &[u8]) -> Jumbo {
        let mut buffer = vec![0; ROOM];
        buffer.extend(bytes);
        buffer.extend([0; ROOM]);
        Jumbo { buffer, start: ROOM, end: ROOM + bytes.len() }
    }
}

impl Packet for Jumbo {
    fn data(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(n)?;
        Some(self.data_mut())
    }

    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        self.end = Some(self.end + n).filter(|&end| end <= self.buffer.len())?;
        Some(self.data_mut())
    }

    fn adj(&mut self, n: usize) -> bool {
        let fits = n <= self.len();
        self.start += if fits { n } else { 0 };
        fits
    }

    fn trim(&mut self, n: usize) -> bool {
        let fits = n <= self.len();
        self.end -= if fits { n } else { 0 };
        fits
    }
}
