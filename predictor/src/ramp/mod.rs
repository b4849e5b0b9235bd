//! Ramps of a cluster: P(this node crashes within 30 minutes), from one-minute samples of all nodes.
//!
//! [`Telemetry`] → features of every node and minute, relative to its own past and its peers and blind to the
//! metrics' names → boosted trees ([`crate::gbdt`]) → Venn–Abers calibration ([`crate::calibrate`]) on the
//! scores of fault kinds that the trees had not seen. Only the past is used: p of a prefix is the prefix of p.

mod card;
mod cell;
mod data;
mod events;
mod features;
mod figures;
mod model;
mod order;
mod task;
mod train;

pub use card::Card;
pub use data::{Run, Sample, Telemetry};
pub use events::{Crash, Events};
pub use figures::{Figures, Outcome, judge};
pub use model::{Driver, Explanation, Prediction, RampModel};
pub use task::{evaluate, read_folder};
pub use train::{Options, train};

use std::path::PathBuf;

use crate::calibrate::CalibrationError;
use crate::gbdt::GbdtError;
use crate::table::TableError;

/// A prediction is about this many minutes.
pub const HORIZON_MINUTES: i64 = 30;
/// The telemetry of a folder.
pub const TELEMETRY_FILE: &str = "ramp_telemetry.parquet";
/// What happened, beside it.
pub const EVENTS_FILE: &str = "ramp_events.csv";

/// Why there is no model or no prediction.
#[derive(Debug, thiserror::Error)]
pub enum RampError {
    /// A table that cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The predictions cannot be written.
    #[error(transparent)]
    Task(#[from] crate::task::TaskError),
    /// A column of a table with something in it that has no meaning there.
    #[error("{path}: row {row}: {column} is {found}; {wanted}")]
    Cell {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: usize,
        /// The column.
        column: &'static str,
        /// What stands there.
        found: String,
        /// What may.
        wanted: &'static str,
    },
    /// Data that cannot teach: nothing in them crashes, or nothing stays up.
    #[error("nothing to learn from: {0}")]
    Lesson(String),
    /// A file that is not a model, is damaged or of another version.
    #[error("{path}: {reason}; train again, or name another with --model")]
    Model {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The trees could not be fitted.
    #[error(transparent)]
    Trees(#[from] GbdtError),
    /// The scores could not be calibrated.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
}
