//! Every order of what is possible, for small stories; many orders, for long ones.

use super::world::{Step, World};
use crate::replication::{Relation, Side};
use proptest::prelude::*;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// States looked at for one story, at the most.
const STATES_MAX: usize = 400_000;

fn fingerprint(world: &World, rest: &[Step]) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{world:?}{rest:?}").hash(&mut hasher);
    hasher.finish()
}

/// Goes every way: at each moment whatever is possible may come next, or the next step of either of two `stories`. In the
/// end everything is let go on until it is settled. Returns how many states there are.
fn every_order(start: &World, stories: [&[Step]; 2]) -> usize {
    let mut seen = HashSet::new();
    let mut open = vec![(start.clone(), stories)];
    while let Some((world, stories)) = open.pop() {
        let rest: Vec<Step> = stories.concat();
        if !seen.insert(fingerprint(&world, &rest)) {
            continue;
        }
        assert!(seen.len() < STATES_MAX, "more states than are meant");
        for step in world.possible() {
            let mut next = world.clone();
            next.take(step);
            open.push((next, stories));
        }
        for (which, story) in stories.iter().enumerate() {
            if let Some((step, behind)) = story.split_first() {
                let (mut next, mut left) = (world.clone(), stories);
                next.take(step.clone());
                left[which] = behind;
                open.push((next, left));
            }
        }
        if rest.is_empty() {
            let mut end = world;
            end.settle();
        }
    }
    seen.len()
}

fn joined() -> World {
    let mut world = World::new();
    world.settle();
    world
}

fn apply(at: usize, text: &str) -> Step {
    Step::Apply(at, text.into())
}

#[test]
fn two_people_at_two_engines() {
    let states = every_order(&joined(), [&[apply(0, "one")], &[apply(1, "two")]]);
    assert!(states > 100, "{states}");
    every_order(&joined(), [&[apply(0, "one"), apply(0, "not-a2")], &[apply(1, "bad")]]);
}

#[test]
fn a_change_while_the_wire_breaks() {
    let states = every_order(&joined(), [&[apply(0, "one")], &[Step::Cut]]);
    assert!(states > 50, "{states}");
    every_order(&joined(), [&[apply(0, "one"), apply(1, "two")], &[Step::Cut, Step::Join, Step::Cut]]);
}

#[test]
fn a_change_while_an_engine_dies() {
    for (dies, done) in [(0, true), (0, false), (1, true), (1, false)] {
        every_order(&joined(), [&[apply(0, "one"), apply(1, "two")], &[Step::Crash(dies, done)]]);
    }
}

#[test]
fn both_change_while_apart_and_a_person_resolves_it_amid_breaks() {
    let mut apart = joined();
    for step in [Step::Cut, apply(0, "one"), apply(1, "two")] {
        apart.take(step);
    }
    for _ in 0..4 {
        (0..2).for_each(|at| apart.take(Step::Finish(at)));
    }
    for take in [Side::Mine, Side::Theirs] {
        let mut world = apart.clone();
        world.settle();
        every_order(&world, [&[Step::Resolve(0, take)], &[Step::Cut]]);
        every_order(&world, [&[Step::Resolve(0, take)], &[Step::Resolve(1, take)]]);
        every_order(&world, [&[Step::Resolve(1, take)], &[Step::Crash(0, true)]]);
        world.take(Step::Resolve(1, take));
        world.settle();
        let relation = world.engines[0].replicator.as_ref().expect("started").relation();
        let text = if take == Side::Mine { "two" } else { "one" };
        assert_eq!((relation, &*world.engines[0].disk.text), (Relation::InSync, text));
        assert_eq!(world.engines[0].disk, world.engines[1].disk);
    }
}

#[test]
fn the_same_made_twice_is_joined_without_asking() {
    let mut world = joined();
    for step in [Step::Cut, apply(0, "one"), apply(1, "same"), apply(0, "same")] {
        world.take(step);
        for _ in 0..2 {
            (0..2).for_each(|at| world.take(Step::Finish(at)));
        }
    }
    every_order(&world, [&[], &[]]);
    world.settle();
    assert_eq!(world.engines[0].disk, world.engines[1].disk);
    assert_eq!(&*world.engines[0].disk.text, "same");
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..2usize;
    let text = prop::sample::select(vec!["one", "two", "three", "bad", "not-a1", "not-a2"]);
    prop_oneof![
        4 => (at.clone(), text).prop_map(|(at, text)| apply(at, text)),
        2 => (at.clone(), any::<bool>()).prop_map(|(at, mine)| {
            Step::Resolve(at, if mine { Side::Mine } else { Side::Theirs })
        }),
        16 => at.clone().prop_map(Step::Deliver),
        12 => at.clone().prop_map(Step::Finish),
        1 => at.clone().prop_map(Step::Fail),
        2 => Just(Step::Cut),
        4 => Just(Step::Join),
        1 => (at.clone(), any::<bool>()).prop_map(|(at, done)| Step::Crash(at, done)),
        3 => at.prop_map(Step::Start),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens in whatever order, what must hold holds, and in the end both know how they stand.
    #[test]
    fn long_stories(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.settle();
    }
}
