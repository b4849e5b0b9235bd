//! Between the engines and the state store: what they ask, what it answers, and what its watches bring.

use super::Cluster;
use crate::checkers::Rule;
use crate::sabotage::Sabotage;
use crate::store::{Answer, News, Request, Store};
use crate::topology::{ENGINES, REGION};
use control::io::Input;
use control::state::{Record, StateKey, Topic};
use dataplane::id::Nanos;
use std::collections::{BTreeMap, BTreeSet};

/// How long it may take, milliseconds: a lost store is noticed again within seconds.
const SHARE_MS: u64 = 5000;

/// One life of an engine.
type Life = (&'static str, u64);

enum Post {
    Request(Life, u64, Request),
    Answer(Life, u64, Answer),
    News(Life, News),
}

/// The store, and the ways to it.
#[derive(Default)]
pub struct Shared {
    /// The store.
    pub store: Store,
    /// Engines that do not reach it.
    pub cut_off: BTreeSet<&'static str>,
    post: BTreeMap<(Nanos, u64), Post>,
    count: u64,
}

impl Shared {
    pub(super) fn new(sabotage: Option<Sabotage>) -> Shared {
        Shared { store: Store::new(sabotage == Some(Sabotage::HeedlessStore)), ..Shared::default() }
    }

    fn reaches(&self, engine: &str) -> bool {
        !self.store.down && !self.cut_off.contains(engine)
    }

    /// On its way, behind what was sent before.
    fn send(&mut self, now: Nanos, post: Post) {
        self.count += 1;
        self.post.insert((now.plus(self.store.delay), self.count), post);
    }

    fn arrived(&mut self, now: Nanos) -> Option<Post> {
        let entry = self.post.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    fn record(&self, key: &StateKey) -> Option<Record> {
        Record::decode(&key.topic, self.store.get(&key.path())?).ok()
    }
}

impl Cluster {
    /// A millisecond of the store and of the engines' ways to it.
    pub(super) fn poll_store(&mut self) {
        let now = self.now;
        self.shared.store.expire(now);
        while let Some(post) = self.shared.arrived(now) {
            match post {
                Post::Request(life, number, request) if self.shared.reaches(life.0) => {
                    self.checkers.records.asked(now, &self.shared.store, &request, &mut self.checkers.log);
                    let answer = self.shared.store.answer(now, request);
                    self.shared.send(now, Post::Answer(life, number, answer));
                }
                Post::Answer(life, number, answer) if self.shared.reaches(life.0) => {
                    if let Some(node) = self.life(life) {
                        node.store.arrived(number, answer);
                    }
                }
                Post::News(life, news) => self.news_arrive(life, news),
                // Lost on the way, there or back.
                Post::Request(..) | Post::Answer(..) => {}
            }
        }
        for name in ENGINES {
            self.poll_client(name);
        }
    }

    fn life(&mut self, (name, process): Life) -> Option<&mut crate::node::Node> {
        Some(self.node_mut(name)).filter(|node| node.process == process && node.controller.is_some())
    }

    fn news_arrive(&mut self, life: Life, news: News) {
        let reaches = self.shared.reaches(life.0);
        let deaf = self.options.sabotage == Some(Sabotage::DeafWatch) && !news.whole;
        let Some(node) = self.life(life) else { return };
        if !reaches || deaf {
            // A watch that broke goes on from what is known; one that lies goes on behind what it has lost.
            node.store.awaited = false;
            node.store.known = if deaf { Some(news.revision) } else { node.store.known };
            return;
        }
        let input = node.store.learn(REGION, news);
        node.inbox.push_back(input.into());
    }

    fn poll_client(&mut self, name: &'static str) {
        let (now, reaches) = (self.now, self.shared.reaches(name));
        let node = self.nodes.get_mut(name).expect("an engine of the topology");
        if !self.options.store || !node.runs() {
            return;
        }
        self.checkers.records.reaches(name, reaches);
        let (life, mut told) = ((name, node.process), Vec::new());
        let asked = node.store.poll(now, &mut told);
        let kept_from = self.options.sabotage == Some(Sabotage::UntoldOutage);
        told.retain(|input| !(kept_from && matches!(input, Input::StoreLost { .. })));
        node.inbox.extend(told.into_iter().map(Into::into));
        if let Some((number, request)) = asked {
            self.shared.send(now, Post::Request(life, number, request));
        }
        if reaches && !node.store.awaited {
            let news = self.shared.store.news(now, node.store.known);
            node.store.awaited = news.is_some();
            news.into_iter().for_each(|news| self.shared.send(now, Post::News(life, news)));
        }
    }

    /// All is well with the store: soon it has what must be in it, and all engines know it.
    pub fn must_share_state(&mut self) {
        if !self.options.store || self.run_until(SHARE_MS, |c| c.shares_state().is_ok()).is_some() {
            return;
        }
        let what = self.shares_state().err().unwrap_or_default();
        self.checkers.log.violate(self.now, Rule::Recovery, format!("after all is well {what}"));
    }

    /// Every engine knows what is in the store, and there is what must be: signs of life of all engines, and what the
    /// owner wants.
    fn shares_state(&self) -> Result<(), String> {
        let key = |topic| StateKey { region: REGION.to_owned(), topic };
        let intent = key(Topic::Intent { site: "a".to_owned() });
        for name in ENGINES {
            let Some(controller) = &self.nodes[name].controller else {
                return Err(format!("{name} is dead"));
            };
            let health = self.shared.record(&key(Topic::Health { engine: name.to_owned() }));
            let Some(Record::Health(_)) = health else { return Err(format!("no sign of life of {name}")) };
            let known = controller.shared_records().find(|(key, _)| **key == intent);
            if known.map(|(_, known)| &known.record) != self.shared.record(&intent).as_ref() {
                return Err(format!("{name} knows another intent: {known:?}"));
            }
            if !controller.shared_records().any(|(_, known)| Some(&known.record) == health.as_ref()) {
                return Err(format!("{name} does not know its own health"));
            }
        }
        match (self.shared.record(&intent), self.owner()) {
            (Some(Record::Intent(there)), Some(owner))
                if there.owner == owner && Some(there.epoch) == self.nodes[owner].owns(self.now) =>
            {
                Ok(())
            }
            (there, owner) => Err(format!("{owner:?} owns the site, and the store has {there:?}")),
        }
    }
}
