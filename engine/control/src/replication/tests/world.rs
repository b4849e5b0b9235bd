//! Two engines whose every next step somebody else chooses, and what must hold after each.

use super::{by, hash};
use crate::replication::*;
use dataplane::id::Nanos;
use std::collections::{BTreeMap, VecDeque};

pub const NAMES: [&str; 2] = ["a1", "a2"];

/// What an engine waits for beside the loop.
#[derive(Clone, Debug)]
enum Errand {
    Check { ticket: u64, version: Version },
    Keep { ticket: u64, version: Version },
}

/// One engine, its disk, and what is on the way to it.
#[derive(Clone, Debug)]
pub struct Engine {
    pub replicator: Option<Replicator>,
    /// What is on its disk.
    pub disk: Version,
    pub applied: Version,
    errands: VecDeque<Errand>,
    inbox: VecDeque<Word>,
}

/// A step that somebody chooses.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A person applies this text here, made from what is in force.
    Apply(usize, String),
    /// A person resolves a conflict here.
    Resolve(usize, Side),
    /// The next message arrives.
    Deliver(usize),
    /// The next check or write is done.
    Finish(usize),
    /// A write fails.
    Fail(usize),
    /// The connection breaks: what is on its way is lost.
    Cut,
    /// It is made anew.
    Join,
    /// An engine dies; a write that is under way may be done or not.
    Crash(usize, bool),
    /// It comes back with what is on its disk.
    Start(usize),
    /// Everybody's patience ends.
    Wait,
}

/// Both engines.
#[derive(Clone, Debug)]
pub struct World {
    pub engines: [Engine; 2],
    pub joined: bool,
    now: Nanos,
    asked: u64,
    /// What people were told is in force, and whether at both.
    pub told: Vec<(usize, Version, bool)>,
    /// Where they asked, and for what, by request.
    wanted: BTreeMap<u64, (usize, String)>,
    pub refusals: Vec<String>,
}

/// Whether a text fits an engine: `bad` fits none, and `not-a2` does not fit that one.
pub fn fits(at: usize, text: &str) -> bool {
    !text.contains("bad") && !text.contains(&format!("not-{}", NAMES[at]))
}

impl World {
    pub fn new() -> World {
        let engine = |at: usize| Engine {
            replicator: Some(Replicator::new(NAMES[at], Some(NAMES[1 - at]), Version::root(hash), 0, hash)),
            disk: Version::root(hash),
            applied: Version::root(hash),
            errands: VecDeque::new(),
            inbox: VecDeque::new(),
        };
        World {
            engines: [engine(0), engine(1)],
            joined: false,
            now: Nanos(0),
            asked: 0,
            told: Vec::new(),
            wanted: BTreeMap::new(),
            refusals: Vec::new(),
        }
    }

    /// What could happen next, but for what people do.
    pub fn possible(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for at in 0..2 {
            let engine = &self.engines[at];
            if engine.replicator.is_none() {
                steps.push(Step::Start(at));
                continue;
            }
            if !engine.inbox.is_empty() {
                steps.push(Step::Deliver(at));
            }
            if !engine.errands.is_empty() {
                steps.push(Step::Finish(at));
            }
        }
        if !self.joined && self.engines.iter().all(|engine| engine.replicator.is_some()) {
            steps.push(Step::Join);
        }
        steps
    }

    /// Takes a step; one that cannot be taken now changes nothing.
    pub fn take(&mut self, step: Step) {
        match step {
            Step::Apply(at, text) => {
                let Some(replicator) = &self.engines[at].replicator else { return };
                let base = replicator.version().head.revision.generation;
                let request = Request::Apply { base, text: text.as_str().into(), by: by("x"), alone: false };
                self.ask(at, request, text);
            }
            Step::Resolve(at, take) => self.ask(at, Request::Resolve { take, by: by("y") }, String::new()),
            Step::Deliver(at) => {
                if let Some(word) = self.engines[at].inbox.pop_front() {
                    self.feed(at, Input::Word(word));
                }
            }
            Step::Finish(at) => self.finish(at, true),
            Step::Fail(at) => self.finish(at, false),
            Step::Cut => self.cut(),
            Step::Join => {
                if !self.joined && self.engines.iter().all(|engine| engine.replicator.is_some()) {
                    self.joined = true;
                    (0..2).for_each(|at| self.feed(at, Input::Linked { speaks: true }));
                }
            }
            Step::Crash(at, done) => self.crash(at, done),
            Step::Start(at) => {
                let engine = &mut self.engines[at];
                let disk = engine.disk.clone();
                let floor = disk.head.revision.generation;
                engine.applied = disk.clone();
                let peer = Some(NAMES[1 - at]);
                engine.replicator.get_or_insert_with(|| Replicator::new(NAMES[at], peer, disk, floor, hash));
            }
            Step::Wait => {
                self.now = self.now.plus(Nanos::from_millis(60_000));
                (0..2).for_each(|at| self.feed(at, Input::Tick));
            }
        }
        self.check();
    }

    fn ask(&mut self, at: usize, request: Request, text: String) {
        if self.engines[at].replicator.is_none() {
            return;
        }
        self.asked += 1;
        self.wanted.insert(self.asked, (at, text));
        self.feed(at, Input::Ask { id: self.asked, request });
    }

    fn finish(&mut self, at: usize, well: bool) {
        let engine = &mut self.engines[at];
        match engine.errands.pop_front() {
            Some(Errand::Check { ticket, version }) => {
                let fits = fits(at, &version.text);
                let result = if fits { Ok(()) } else { Err(vec!["route[0].via: wrong; other".to_owned()]) };
                self.feed(at, Input::Checked { ticket, result });
            }
            Some(Errand::Keep { ticket, version }) => {
                if well {
                    engine.disk = version;
                }
                let result = if well { Ok(()) } else { Err("no space".to_owned()) };
                self.feed(at, Input::Kept { ticket, result });
            }
            None => {}
        }
    }

    fn cut(&mut self) {
        if std::mem::replace(&mut self.joined, false) {
            for at in 0..2 {
                self.engines[at].inbox.clear();
                self.feed(at, Input::Unlinked);
            }
        }
    }

    fn crash(&mut self, at: usize, done: bool) {
        let engine = &mut self.engines[at];
        if engine.replicator.take().is_none() {
            return;
        }
        // Who asked there learns nothing.
        self.wanted.retain(|_, (asked, _)| *asked != at);
        for errand in std::mem::take(&mut engine.errands) {
            if let Errand::Keep { version, .. } = errand
                && done
            {
                engine.disk = version;
            }
        }
        self.cut();
    }

    fn feed(&mut self, at: usize, input: Input) {
        let Some(replicator) = &mut self.engines[at].replicator else { return };
        let mut outputs = Vec::new();
        replicator.step(self.now, input, &mut outputs);
        for output in outputs {
            self.carry_out(at, output);
        }
    }

    fn carry_out(&mut self, at: usize, output: Output) {
        match output {
            Output::Check { ticket, version } => {
                self.engines[at].errands.push_back(Errand::Check { ticket, version });
            }
            Output::Keep { ticket, version } => {
                assert!(fits(at, &version.text), "a text that does not fit {} is written", NAMES[at]);
                self.engines[at].errands.push_back(Errand::Keep { ticket, version });
            }
            Output::Apply { version } => {
                assert!(fits(at, &version.text), "a text that does not fit {} is applied", NAMES[at]);
                assert_eq!(self.engines[at].disk, version, "applied, and not on the disk");
                let before = self.engines[at].applied.head.revision.clone();
                assert!(version.head.revision.generation > before.generation);
                assert!(version.head.follows(before.id), "what was in force is overwritten");
                self.engines[at].applied = version;
            }
            Output::Send(word) => {
                let json = serde_json::to_vec(&word).expect("a word has JSON");
                assert!(json.len() < 64 * 1024, "longer than a message may be");
                let word = serde_json::from_slice(&json).expect("which reads");
                if self.joined {
                    self.engines[1 - at].inbox.push_back(word);
                }
            }
            Output::Answer { id, result } => {
                let (asked, text) = self.wanted.remove(&id).expect("answered once");
                assert_eq!(asked, at);
                match result {
                    Ok(done) => {
                        let applied = self.engines[at].applied.clone();
                        assert_eq!(done.generation, applied.head.revision.generation);
                        assert!(text.is_empty() || *applied.text == *text, "told of another text");
                        self.told.push((at, applied, done.other == PeerOutcome::Has));
                    }
                    Err(why) => self.refusals.push(why),
                }
            }
            Output::Say(_) => {}
        }
    }

    /// What must hold at any moment.
    fn check(&self) {
        let [a, b] = &self.engines;
        if let (Some(a), Some(b)) = (&a.replicator, &b.replicator)
            && (a.relation(), b.relation()) == (Relation::InSync, Relation::InSync)
        {
            assert_eq!(a.version(), b.version(), "both believe that they have the same");
        }
        for engine in self.engines.iter().filter(|engine| engine.replicator.is_some()) {
            let replicator = engine.replicator.as_ref().expect("just seen");
            assert_eq!(replicator.version(), &engine.applied, "in force is what is applied");
        }
        for (at, version, both) in &self.told {
            let kept = |at: usize| {
                let (head, disk) = (&version.head, &self.engines[at].disk.head);
                disk.revision.id == head.revision.id || disk.follows(head.revision.id)
            };
            assert!(kept(*at), "a change that a person was told of is lost at {}", NAMES[*at]);
            assert!(!both || kept(1 - at), "a change that both had is lost at {}", NAMES[1 - at]);
        }
    }

    /// Lets everything that is under way end, over a connection that stays.
    pub fn settle(&mut self) {
        for _ in 0..2_000 {
            match self.possible().first() {
                Some(step) => self.take(step.clone()),
                None => {
                    self.assert_settled();
                    return;
                }
            }
        }
        panic!("they never come to an end: {self:#?}");
    }

    /// Once nothing is under way any more: nobody waits, and both know how they stand.
    fn assert_settled(&self) {
        assert!(self.wanted.is_empty(), "somebody was not answered: {self:#?}");
        let relation = |at: usize| self.engines[at].replicator.as_ref().expect("started").relation();
        let busy = self.engines.iter().any(|e| e.replicator.as_ref().is_some_and(Replicator::is_busy));
        assert!(!busy, "something is still under way: {self:#?}");
        match (relation(0), relation(1)) {
            (Relation::InSync, Relation::InSync) => {}
            (Relation::Conflict, Relation::Conflict) => {
                let texts = self.engines.each_ref().map(|engine| engine.disk.text.clone());
                assert_ne!(texts[0], texts[1], "the same twice is no conflict");
                for at in 0..2 {
                    let replicator = self.engines[at].replicator.as_ref().expect("started");
                    assert_eq!(replicator.their_text(), Some(&texts[1 - at]), "a person sees both");
                }
            }
            // One cannot take what the other has, and both say why.
            (Relation::Ahead { declined: a }, Relation::Behind { declined: b })
            | (Relation::Behind { declined: a }, Relation::Ahead { declined: b }) => {
                assert!(!a.is_empty() && !b.is_empty(), "{a:?} {b:?}");
            }
            (a, b) => panic!("settled as {a:?} and {b:?}: {self:#?}"),
        }
    }
}
