use crate::Controller;
use crate::config::{ClusterConfig, ControllerConfig, HaConfig, InitialRole, WithoutWitness};
use crate::io::{Input, OperatorCommand, Output};
use crate::shared::StoreState;
use crate::state::{Expected, Record, StateChange, StateKey, Topic};
use dataplane::id::{Epoch, Nanos};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

fn config(engine: &str, epoch_floor: u64, ha: Option<HaConfig>) -> ControllerConfig {
    ControllerConfig {
        ha,
        cluster: Some(ClusterConfig { region: "eu".to_owned(), digest: "ab".to_owned() }),
        epoch_floor,
        seed: epoch_floor,
        ..ControllerConfig::alone(engine, "a")
    }
}

struct Engine {
    controller: Controller,
    now: Nanos,
}

impl Engine {
    fn new(engine: &str, epoch_floor: u64, ha: Option<HaConfig>) -> Engine {
        Engine { controller: Controller::new(config(engine, epoch_floor, ha)), now: Nanos(0) }
    }

    fn step(&mut self, input: Option<Input>) -> Vec<Output> {
        let mut out = Vec::new();
        self.controller.step(self.now, input, &mut out);
        out
    }

    /// Ticks for so many milliseconds, its workers polling.
    fn run(&mut self, ms: u64) -> Vec<Output> {
        let mut out = Vec::new();
        for _ in 0..ms / 5 {
            self.now = self.now.plus(Nanos::from_millis(5));
            out.extend(self.step(Some(Input::WorkersPolled(self.now))));
            out.extend(self.step(None));
        }
        out
    }

    fn drain(&mut self) -> String {
        let command = Input::Command { id: 1, command: OperatorCommand::Drain { overrule: false } };
        let reply = self.step(Some(command)).into_iter().find_map(|output| match output {
            Output::Reply { result, .. } => Some(result),
            _ => None,
        });
        reply.expect("a reply").expect_err("nobody to drain to")
    }
}

fn writes(outputs: &[Output]) -> BTreeMap<&Topic, (&Record, Expected)> {
    let mut written = BTreeMap::new();
    for output in outputs {
        if let Output::StoreWrite { key, record, expected } = output {
            written.insert(&key.topic, (record, *expected));
        }
    }
    written
}

fn decisions(outputs: &[Output]) -> Vec<&str> {
    let mut actions = Vec::new();
    for output in outputs {
        if let Output::Decision(decision) = output {
            actions.push(decision.action.as_str());
        }
    }
    actions
}

#[test]
fn planned_moves_wait_for_the_store_and_say_so() {
    let ha = HaConfig {
        initial: InitialRole::Active,
        peer: "a2".to_owned(),
        witness: None,
        lease: Nanos::from_millis(400),
        without_witness: WithoutWitness::DualActive,
        shares_config: false,
        failback: None,
    };
    let mut a1 = Engine::new("a1", 10, Some(ha));
    a1.run(10_000);
    assert!(a1.controller.role().owner);
    assert!(a1.drain().contains("has not answered since this engine started"), "{}", a1.drain());
    a1.step(Some(Input::StoreReady));
    assert!(a1.drain().contains("cannot take the traffic"), "only the standby is missing: {}", a1.drain());
    let lost = a1.step(Some(Input::StoreLost { reason: "no leader".to_owned() }));
    assert_eq!(decisions(&lost), ["state store lost"]);
    a1.run(12_000);
    let refusal = a1.drain();
    assert!(refusal.contains("lost for 12 s (no leader): planned moves wait"), "{refusal}");
    let again = a1.step(Some(Input::StoreLost { reason: "no route".to_owned() }));
    assert_eq!(decisions(&again), [] as [&str; 0], "said once");
    assert!(a1.drain().contains("no route"), "the newest reason");
    assert_eq!(decisions(&a1.step(Some(Input::StoreReady))), ["state store back"]);
    assert!(matches!(a1.controller.store_state(), Some(StoreState::Ready { .. })));
    assert!(a1.drain().contains("cannot take the traffic"));
}

#[test]
fn what_changes_is_written_once_and_all_of_it_again_after_an_outage() {
    let mut b1 = Engine::new("b1", 10, None);
    assert!(writes(&b1.run(3000)).is_empty(), "nothing is written before the store is there");
    let first = b1.step(Some(Input::StoreReady));
    let (config, intent) = (Topic::Config { engine: "b1".into() }, Topic::Intent { site: "a".into() });
    let topics: Vec<_> = writes(&first).into_keys().cloned().collect();
    let (health, risk) = (Topic::Health { engine: "b1".into() }, Topic::Risk { engine: "b1".into() });
    assert_eq!(topics, [config.clone(), health.clone(), risk, intent.clone()]);
    assert_eq!(writes(&first)[&intent].1, Expected::Absent);
    assert!(writes(&b1.run(5000)).is_empty(), "nothing has changed");
    b1.step(Some(Input::StoreLost { reason: String::new() }));
    b1.step(Some(Input::PeerUp { peer: "c1".to_owned() }));
    assert!(writes(&b1.run(3000)).is_empty());
    let back = b1.step(Some(Input::StoreReady));
    assert_eq!(writes(&back).len(), 4);
    let Record::Health(said) = writes(&back)[&health].0 else { panic!("health") };
    assert_eq!(said.peers, ["c1"]);
}

/// A store, and what is on its way from and to it.
#[derive(Default)]
struct Net {
    revision: u64,
    intent: Option<(u64, Record)>,
    epochs: Vec<Epoch>,
    /// To each engine: changes that its watch has not brought yet.
    watches: [VecDeque<StateChange>; 2],
    /// From each engine: writes that have not arrived yet.
    writes: [VecDeque<(StateKey, Record, Expected)>; 2],
}

impl Net {
    fn take(&mut self, from: usize, outputs: Vec<Output>) {
        for output in outputs {
            if let Output::StoreWrite { key, record, expected } = output
                && matches!(key.topic, Topic::Intent { .. })
            {
                self.writes[from].push_back((key, record, expected));
            }
        }
    }

    fn write(&mut self, from: usize) {
        let Some((key, record, expected)) = self.writes[from].pop_front() else { return };
        let holds = match expected {
            Expected::Any => true,
            Expected::Absent => self.intent.is_none(),
            Expected::Revision(revision) => self.intent.as_ref().is_some_and(|(at, _)| *at == revision),
        };
        if holds {
            self.revision += 1;
            let Record::Intent(intent) = &record else { panic!("intents only") };
            self.epochs.push(intent.epoch);
            self.intent = Some((self.revision, record.clone()));
            let change = StateChange { key, revision: self.revision, record: Some(record) };
            self.watches.iter_mut().for_each(|watch| watch.push_back(change.clone()));
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Tick,
    Watch,
    Write,
    LoseWrite,
    Outage,
}

fn event() -> impl Strategy<Value = (usize, Event)> {
    let kind = prop_oneof![
        3 => Just(Event::Tick),
        3 => Just(Event::Watch),
        3 => Just(Event::Write),
        1 => Just(Event::LoseWrite),
        1 => Just(Event::Outage),
    ];
    (0..2_usize, kind)
}

proptest! {
    /// Two engines that both believe they own the site, at different epochs, and a store that delays, loses and refuses:
    /// the later owner's intent is never overwritten, and stands there in the end.
    #[test]
    fn intents_converge_on_the_later_owner(events in proptest::collection::vec(event(), 0..120)) {
        let mut engines = [Engine::new("a1", 10, None), Engine::new("a2", 20, None)];
        let mut net = Net::default();
        for (at, engine) in engines.iter_mut().enumerate() {
            engine.run(10);
            net.take(at, engine.step(Some(Input::StoreReady)));
        }
        let finish = (0..4).flat_map(|_| {
            let both = |event: Event| (0..2_usize).map(move |at| (at, event.clone()));
            both(Event::Outage).chain((0..8).flat_map(move |_| {
                both(Event::Tick).chain(both(Event::Write)).chain(both(Event::Watch))
            }))
        });
        for (at, event) in events.into_iter().chain(finish) {
            let outputs = match event {
                Event::Tick => engines[at].run(200),
                Event::Watch => {
                    let changes: Vec<StateChange> = net.watches[at].pop_front().into_iter().collect();
                    let region = "eu".to_owned();
                    engines[at].step(Some(Input::StoreChanged { region, whole: false, changes }))
                }
                Event::Write => {
                    net.write(at);
                    Vec::new()
                }
                Event::LoseWrite => {
                    net.writes[at].pop_front();
                    Vec::new()
                }
                Event::Outage => {
                    net.writes[at].clear();
                    engines[at].step(Some(Input::StoreLost { reason: String::new() }));
                    engines[at].step(Some(Input::StoreReady))
                }
            };
            net.take(at, outputs);
        }
        prop_assert!(net.epochs.is_sorted(), "{:?}", net.epochs);
        let Some((_, Record::Intent(intent))) = &net.intent else { panic!("an intent") };
        prop_assert_eq!(&intent.owner, "a2");
        prop_assert_eq!(intent.shares.iter().map(|share| share.buckets).sum::<u32>(), 65_536);
    }
}
