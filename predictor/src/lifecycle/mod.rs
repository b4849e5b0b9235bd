//! A model's life in a running engine: the engine keeps its own history ([`History`]), a challenger is trained on it ([`retrain`]), runs
//! in shadow beside the champion ([`Duel`]), and replaces it only if it is better ([`better`]). Every model stays in the [`Store`]
//! under its name with its card, so that a person can go back.

mod duel;
mod history;
mod retrain;
mod slo;
mod store;

pub use duel::{Duel, Rival, Score, better};
pub use history::{History, HistoryError, read};
pub use retrain::{Outcome, retrain};
pub use slo::{Seen, SloWatch};
pub use store::{CARD, CARD_TEXT, Kept, MODEL, Store, StoreError};
