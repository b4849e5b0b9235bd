//! How shadowing goes, for those who ask.

use serde::{Deserialize, Serialize};

/// Who holds this engine's sessions, and whose it holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowStatus {
    /// Those that hold this engine's.
    pub to: Vec<ShadowTarget>,
    /// Those whose sessions it holds.
    pub from: Vec<ShadowSource>,
    /// Rounds that have ended: times that everything was said once more.
    pub rounds: u64,
    /// Reports of the workers that found no room; a round made, or will make, up for them.
    pub reports_lost: u64,
    /// Copies of other engines' sessions that were installed, since the start.
    pub copied: u64,
    /// Copies whose flows went on here.
    pub adopted: u64,
    /// Copies that there was no room for, or whose NAT binding somebody else has here.
    pub refused: u64,
}

/// An engine that holds this one's sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowTarget {
    /// Its name.
    pub engine: String,
    /// The channel is up.
    pub connected: bool,
    /// It misses nothing but what is on its way.
    pub in_sync: bool,
    /// Changes on their way.
    pub pending: u64,
    /// Changes that it has acknowledged since the start.
    pub acknowledged: u64,
    /// From a change to its acknowledgement, the median of the last minutes, µs.
    pub lag_p50_us: Option<u64>,
    /// The 99th percentile, µs.
    pub lag_p99_us: Option<u64>,
}

impl ShadowTarget {
    /// One that is not connected yet.
    pub fn new(engine: &str) -> ShadowTarget {
        ShadowTarget {
            engine: engine.to_owned(),
            connected: false,
            in_sync: false,
            pending: 0,
            acknowledged: 0,
            lag_p50_us: None,
            lag_p99_us: None,
        }
    }
}

/// An engine whose sessions this one holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowSource {
    /// Its name.
    pub engine: String,
    /// The channel is up.
    pub connected: bool,
    /// Changes that it has told, since the start.
    pub entries: u64,
    /// Of these, those that the workers have yet to carry out.
    pub pending: usize,
    /// SAs of it that this engine could take over.
    pub sas: usize,
}

impl ShadowSource {
    /// One that is not connected yet.
    pub fn new(engine: &str) -> ShadowSource {
        ShadowSource { engine: engine.to_owned(), connected: false, entries: 0, pending: 0, sas: 0 }
    }
}
