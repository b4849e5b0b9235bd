//! Two engines, a wire between them and disks, in every order that is possible.

mod orders;
mod rules;
mod world;

use super::revision::{By, Digest, Version};

/// Good enough to tell texts apart; the shell has SHA-256.
pub fn hash(octets: &[u8]) -> [u8; 32] {
    let mut state = [0xcbf2_9ce4_8422_2325_u64, 0x9e37_79b9_7f4a_7c15, 1, 7];
    for (at, octet) in octets.iter().enumerate() {
        for (lane, word) in (0..).zip(state.iter_mut()) {
            *word =
                (*word ^ u64::from(*octet) ^ (at as u64) << lane).wrapping_mul(0x0100_0000_01b3 + 2 * lane);
            *word ^= *word >> 29;
        }
    }
    let mut digest = [0; 32];
    digest.chunks_exact_mut(8).zip(state).for_each(|(out, word)| out.copy_from_slice(&word.to_be_bytes()));
    digest
}

pub fn by(author: &str) -> By {
    By { author: author.into(), at_ms: 1, note: String::new() }
}

pub fn after(version: &Version, text: &str) -> Version {
    version.next(None, text.into(), ("a1", by("x")), 0, hash).expect("a generation")
}

pub fn id(version: &Version) -> Digest {
    version.head.revision.id
}
