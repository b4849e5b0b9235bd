//! Sessions: what one worker remembers of the flows it carries.
//!
//! A [`SessionTable`] belongs to one worker, which alone reads and writes it: no lock, no atomic. All memory is
//! taken, and touched, by [`SessionTable::new`]: 64 bytes a session, 2 bytes of deadline, and 11 bytes an index
//! entry, of which a session has one, or two where NAT makes its directions look different.
//!
//! - Both directions of a flow find the same session, and learn which [`Direction`] they are.
//! - The index is an array of one-cache-line buckets of eight (tag, slot) pairs; an entry is in one of two
//!   buckets. A lookup therefore reads at most two lines of it whatever an attacker sends, and its keyed hash
//!   ([`HashKeys`]) is universal: without the keys, collisions cannot be chosen.
//! - Expiry is a sweep in small steps over an array of deadlines, which are lower bounds: a packet notes the time in
//!   its session only.

mod index;
mod session;
mod shadowing;
mod state;
mod table;
mod tuple;

#[cfg(test)]
mod tests;

pub use index::{Hash, HashKeys, Index};
pub use session::{NewSession, Session, SessionKey};
pub use shadowing::Installed;
pub use state::{Phase, Timeouts, Track};
pub use table::{Direction, Full, Hit, Passed, Second, SessionConfig, SessionId, SessionTable, WhenFull};
pub use tuple::{AnyTuple, Flow, Tuple, Upper, quoted, tcp};
