//! An engine's way to the store: what its shell does. One request at a time; a lease that says that the engine lives;
//! what was not answered in time may have been done.

use super::{Answer, News, Request};
use control::io::Input;
use control::state::{Expected, Record, StateChange, StateKey};
use dataplane::id::Nanos;
use std::collections::BTreeMap;

/// Between two signs of life.
const BEAT: Nanos = Nanos::from_millis(1000);
/// An answer that comes later is not waited for.
const TIMEOUT: Nanos = Nanos::from_millis(1000);
/// A store that has not answered for this long is lost.
const PATIENCE: Nanos = Nanos::from_millis(3000);
/// The longest time from the last answer to the moment when the controller knows that the store is lost.
pub const NOTICED: Nanos = Nanos(PATIENCE.0 + BEAT.0 + 2 * TIMEOUT.0);

struct Asked {
    number: u64,
    until: Nanos,
    /// What is written, to be tried again.
    write: Option<(StateKey, Record, Expected)>,
}

/// See the module.
#[derive(Default)]
pub struct Client {
    lease: Option<u64>,
    /// By key: a newer record takes the place of an older one.
    pending: BTreeMap<StateKey, (Record, Expected)>,
    asked: Option<Asked>,
    /// The answer to what was asked.
    answer: Option<Answer>,
    count: u64,
    answered: Nanos,
    next_beat: Nanos,
    ready: bool,
    /// All changes up to this revision are known.
    pub known: Option<u64>,
    /// News are on their way.
    pub awaited: bool,
}

impl Client {
    /// The controller asks for a write.
    pub fn write(&mut self, key: StateKey, record: Record, expected: Expected) {
        self.pending.insert(key, (record, expected));
    }

    /// An answer has arrived; late ones are not waited for any more.
    pub fn arrived(&mut self, number: u64, answer: Answer) {
        if self.asked.as_ref().is_some_and(|asked| asked.number == number) {
            self.answer = Some(answer);
        }
    }

    /// What is to be asked now, by its number; what the controller is told goes to `told`.
    pub fn poll(&mut self, now: Nanos, told: &mut Vec<Input>) -> Option<(u64, Request)> {
        if let Some(asked) = &self.asked {
            let late = now >= asked.until;
            let answer = self.answer.take();
            if answer.is_none() && !late {
                return None;
            }
            let write = self.asked.take().and_then(|asked| asked.write);
            match answer {
                Some(answer) => self.answered(now, answer, write.is_some(), told),
                None => self.unanswered(now, write, told),
            }
        }
        if now >= self.next_beat {
            self.next_beat = now.plus(BEAT);
            let request = self.lease.map_or(Request::Grant, Request::KeepAlive);
            return Some(self.ask(now, request, None));
        }
        let (key, (record, expected)) = if self.ready { self.pending.pop_first()? } else { return None };
        let lease = self.lease.filter(|_| key.topic.is_leased());
        let request = Request::Put { path: key.path(), octets: record.encode(), expected, lease };
        Some(self.ask(now, request, Some((key, record, expected))))
    }

    fn ask(
        &mut self,
        now: Nanos,
        request: Request,
        write: Option<(StateKey, Record, Expected)>,
    ) -> (u64, Request) {
        self.count += 1;
        self.asked = Some(Asked { number: self.count, until: now.plus(TIMEOUT), write });
        (self.count, request)
    }

    fn answered(&mut self, now: Nanos, answer: Answer, write: bool, told: &mut Vec<Input>) {
        match answer {
            Answer::Granted(lease) => {
                // What was put under the old one is gone.
                (self.lease, self.ready) = (Some(lease), false);
            }
            Answer::LeaseGone => {
                (self.lease, self.next_beat) = (None, now);
                return;
            }
            Answer::Done => {}
            // The watch brings what is there; the controller judges it.
            Answer::Conflict => return,
        }
        self.answered = now;
        if !self.ready && !write {
            self.ready = true;
            self.pending.clear();
            told.push(Input::StoreReady);
        }
    }

    fn unanswered(&mut self, now: Nanos, write: Option<(StateKey, Record, Expected)>, told: &mut Vec<Input>) {
        if let Some((key, record, expected)) = write {
            self.pending.entry(key).or_insert((record, expected));
        }
        if now.since(self.answered) >= PATIENCE || self.lease.is_none() {
            self.ready = false;
            told.push(Input::StoreLost { reason: "no answer".to_owned() });
        }
    }

    /// News have arrived: what the controller is told.
    pub fn learn(&mut self, region: &str, news: News) -> Input {
        self.awaited = false;
        self.known = Some(news.revision);
        let changes = news.changes.into_iter().filter_map(|(path, revision, octets)| {
            let key = StateKey::parse(&path)?;
            let record = match octets {
                Some(octets) => Some(Record::decode(&key.topic, &octets).ok()?),
                None => None,
            };
            Some(StateChange { key, revision, record })
        });
        Input::StoreChanged { region: region.to_owned(), whole: news.whole, changes: changes.collect() }
    }
}
