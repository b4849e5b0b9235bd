//! A process of an engine goes on in the place of another one of the same engine: a newer binary, or another configuration.
//!
//! The *giver* runs, the *taker* is to follow it. They talk over a Unix socket on one machine, in this order:
//!
//! | giver | | taker |
//! | --- | --- | --- |
//! | | ← `Hello` | has read its configuration |
//! | may it follow, and can both read what they say? | `Welcome` or `Refused` → | |
//! | | ← `Ready` | has its memory, its tables, and its ports, which are deaf |
//! | remembers what it receives from now on | `Open` → | |
//! | | ← `Listening` | its ports hear, it keeps what comes |
//! | is deaf, finishes what it has received, stops its workers: its state is final | the state → | |
//! | | ← `Holding` | has read it all, and left out of what it kept what the giver has taken |
//! | never forwards again | `Yours` → | forwards |
//!
//! Ports that cannot be open twice go without the two steps in the middle: the taker opens them behind `Yours`, and what comes
//! meanwhile is lost.
//!
//! **Who forwards.** The giver until it stops its workers, and again if anything goes wrong before `Yours` has been written;
//! the taker once it has read it. Nobody's counters are used twice: what the taker has of them is final, and is used in no
//! other way than behind `Yours`. If the giver dies before, nobody sends with its keys any more, and the taker, once it is sure
//! of the death, begins as after any start: without them. If the taker dies behind it, the giver does not know what it
//! has sent, and ends too.
//!
//! [`Giver`] and [`Taker`] are these rules; the test beside them walks every order of steps, deaths and timeouts.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// The version of the state and of the words. Others are refused before anything is done.
pub const VERSION: u16 = 1;

/// Whether a process can have its ports while another one has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ports {
    /// It can: nothing is lost.
    Shared,
    /// It cannot, at least one of them.
    Exclusive,
}

/// Who wants to follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// [`VERSION`], as it has it.
    pub version: u16,
    /// Its engine's name …
    pub engine: String,
    /// … and site.
    pub site: String,
    /// Its workers: SPIs name them.
    pub workers: u16,
    /// Its ports.
    pub ports: Ports,
}

impl Candidate {
    /// Whether it may follow `self`.
    ///
    /// # Errors
    /// The reason why not, for people.
    pub fn may_be_followed_by(&self, other: &Candidate) -> Result<(), String> {
        if other.version != self.version {
            let (ours, theirs) = (self.version, other.version);
            return Err(format!(
                "state of version {theirs} is wanted, this process has version {ours}: stop it, and start anew"
            ));
        }
        if (&other.engine, &other.site) != (&self.engine, &self.site) {
            let (engine, site) = (&self.engine, &self.site);
            return Err(format!("this is engine {engine} of site {site}, and nobody else's state is here"));
        }
        if other.workers != self.workers {
            let (ours, theirs) = (self.workers, other.workers);
            return Err(format!(
                "{theirs} workers cannot go on with what {ours} have: leave dpdk.cores as many"
            ));
        }
        Ok(())
    }
}

/// What they say, beside the state itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum Word {
    /// "I want to follow."
    Hello(Candidate),
    /// "You may." And what it calls what its numbers mean: interfaces and tunnels by number.
    Welcome { interfaces: Vec<String>, tunnels: Vec<String> },
    /// "You may not."
    Refused { reason: String },
    /// "I have all I need but your state."
    Ready,
    /// "Listen."
    Open,
    /// "I do."
    Listening,
    /// "I have your state."
    Holding,
    /// "It is yours."
    Yours,
    /// "I go on myself."
    Kept { reason: String },
}

/// How far the giver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Giver {
    /// It forwards, as ever.
    Serving,
    /// It forwards, and remembers what it receives.
    Opened,
    /// It does not forward: its state has gone to the taker.
    Stopped,
    /// `Yours` is being written.
    Yielding,
    /// It never forwards again.
    Given,
}

/// What comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToGiver {
    /// [`Word::Ready`].
    Ready(Ports),
    /// [`Word::Listening`].
    Listening,
    /// [`Word::Holding`].
    Holding,
    /// `Yours` is with the kernel.
    Written,
    /// `Yours` could not be written: nobody can read it any more.
    Unwritten,
    /// The taker is gone, takes too long, or says what cannot be understood.
    Lost,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Give {
    /// Remember what is received from now on, and say `Open`.
    Open,
    /// Hear no more, finish, stop the workers, and send the state.
    Stop,
    /// Say `Yours`.
    Yield,
    /// Hear and forward again, and say `Kept` to whoever may read it.
    GoOn,
    /// End, and free everything.
    End,
}

impl Giver {
    /// The next step.
    pub fn step(self, event: ToGiver) -> (Giver, Option<Give>) {
        match (self, event) {
            (Giver::Serving, ToGiver::Ready(Ports::Shared)) => (Giver::Opened, Some(Give::Open)),
            (Giver::Serving, ToGiver::Ready(Ports::Exclusive)) | (Giver::Opened, ToGiver::Listening) => {
                (Giver::Stopped, Some(Give::Stop))
            }
            (Giver::Stopped, ToGiver::Holding) => (Giver::Yielding, Some(Give::Yield)),
            (Giver::Yielding, ToGiver::Written) => (Giver::Given, Some(Give::End)),
            (Giver::Yielding, ToGiver::Unwritten) => (Giver::Serving, Some(Give::GoOn)),
            // Nothing else counts any more: the taker may have read its word.
            (Giver::Yielding | Giver::Given, _) => (self, None),
            (Giver::Serving, _) => (Giver::Serving, None),
            (Giver::Opened | Giver::Stopped, _) => (Giver::Serving, Some(Give::GoOn)),
        }
    }

    /// Whether its workers run.
    pub fn forwards(self) -> bool {
        matches!(self, Giver::Serving | Giver::Opened)
    }
}

/// How far the taker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Taker {
    /// It has said `Ready`.
    Waiting,
    /// Its ports hear.
    Listening,
    /// It has the state.
    Holding,
    /// It forwards with the state.
    Forwarding,
    /// It forwards, or will, without any state.
    Anew,
    /// It ends: the giver goes on.
    Declined,
}

/// What comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToTaker {
    /// [`Word::Open`].
    Open,
    /// The whole state.
    State,
    /// [`Word::Yours`].
    Yours,
    /// [`Word::Kept`], or something that cannot be understood.
    Kept,
    /// The connection has ended without a word.
    Ended,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Let the ports hear, and say `Listening`.
    Listen,
    /// Put the state where it belongs, and say `Holding`.
    Hold,
    /// Forward.
    Forward,
    /// Forget the state; once the giver is certainly dead, start as ever.
    StartAnew,
    /// Forget the state, and end.
    Decline,
}

impl Taker {
    /// The next step.
    pub fn step(self, event: ToTaker) -> (Taker, Option<Take>) {
        match (self, event) {
            (Taker::Forwarding | Taker::Anew | Taker::Declined, _) => (self, None),
            (Taker::Waiting, ToTaker::Open) => (Taker::Listening, Some(Take::Listen)),
            (Taker::Waiting | Taker::Listening, ToTaker::State) => (Taker::Holding, Some(Take::Hold)),
            (Taker::Holding, ToTaker::Yours) => (Taker::Forwarding, Some(Take::Forward)),
            (_, ToTaker::Ended) => (Taker::Anew, Some(Take::StartAnew)),
            _ => (Taker::Declined, Some(Take::Decline)),
        }
    }
}
