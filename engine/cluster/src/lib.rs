//! The state that engines share, in one of two stores behind one interface, [`Store`]: [`embedded::Embedded`] (redb, a
//! file, nothing to install) for the engines of one machine's process, [`etcd::Etcd`] for several machines.
//!
//! A store shares state; it decides nothing. Ownership is a lease of the quorum between the engines themselves
//! (`control::ha`), and no store is on the failover path: an engine whose store is gone forwards on.
//!
//! Values are octets. What stands in them, and under which keys, is `control::state`; key material lies in a store only
//! [wrapped](wrap) for those who shall read it.
#![forbid(unsafe_code)]

pub mod embedded;
pub mod etcd;
mod follow;
mod key;
mod mirror;
mod store;
pub mod wrap;

pub use follow::{Follower, Update};
pub use key::{Key, KeyError, Prefix};
pub use mirror::{Mirror, MirrorError};
pub use store::{
    Batch, Change, Entry, Guard, LeaseId, Revision, Snapshot, Store, StoreError, VALUE_MAX, Watch,
};
