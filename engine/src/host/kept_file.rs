//! A small file of the kernel's that is read again and again through one descriptor.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where a file's text goes: as long as the longest read here (`memory.stat`) several times over.
pub struct Buffer(Box<[u8; 16 * 1024]>);

impl Default for Buffer {
    fn default() -> Self {
        Buffer(Box::new([0; 16 * 1024]))
    }
}

/// An open file whose content changes.
pub struct KeptFile(File);

impl KeptFile {
    /// `None` if it cannot be opened.
    pub fn open(path: &Path) -> Option<KeptFile> {
        File::open(path).ok().map(KeptFile)
    }

    /// Its present text; `None` if it is gone (a removed cgroup answers ENODEV) or does not fit.
    pub fn read<'a>(&self, buffer: &'a mut Buffer) -> Option<&'a str> {
        let mut length = 0;
        loop {
            match self.0.read_at(&mut buffer.0[length..], length as u64) {
                Ok(0) if length == buffer.0.len() => return None,
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        std::str::from_utf8(&buffer.0[..length]).ok()
    }

    /// Its present text as one number.
    pub fn number(&self, buffer: &mut Buffer) -> Option<u64> {
        self.read(buffer)?.trim().parse().ok()
    }
}

/// The number on the line of `text` whose first word is `name`.
pub fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', '\t'])?.split_whitespace().next())?
        .parse()
        .ok()
}
