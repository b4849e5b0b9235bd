//! Frames into a file that every tool reads: pcap, microseconds, Ethernet
//! (<https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html>).

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

const MAGIC: u32 = 0xa1b2_c3d4;
const LINKTYPE_ETHERNET: u32 = 1;
const SNAP_LENGTH: u32 = 262_144;

/// Writes `frames` to `path`, a microsecond apart.
pub fn write<'a>(path: &Path, frames: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for word in [MAGIC, 4 << 16 | 2, 0, 0, SNAP_LENGTH, LINKTYPE_ETHERNET] {
        file.write_all(&word.to_le_bytes())?;
    }
    for (at, frame) in frames.into_iter().enumerate() {
        let length = frame.len() as u32;
        for word in [at as u32 / 1_000_000, at as u32 % 1_000_000, length, length] {
            file.write_all(&word.to_le_bytes())?;
        }
        file.write_all(frame)?;
    }
    file.flush()
}
