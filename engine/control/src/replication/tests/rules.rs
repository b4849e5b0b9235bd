//! Single rules, and what a peer may not make of them.

use super::world::{Step, World};
use super::{after, by, hash, id};
use crate::replication::*;
use dataplane::id::Nanos;

fn settled(steps: &[Step]) -> World {
    let mut world = World::new();
    world.settle();
    for step in steps {
        world.take(step.clone());
    }
    world.settle();
    world
}

#[test]
fn a_change_is_at_both_engines_before_a_person_is_told() {
    let world = settled(&[Step::Apply(1, "one".into())]);
    assert_eq!(world.told.len(), 1);
    assert!(world.told[0].2, "it says that both have it");
    assert_eq!(&*world.engines[0].disk.text, "one");
}

#[test]
fn what_the_other_engine_cannot_take_is_not_applied_here_either() {
    let world = settled(&[Step::Apply(0, "not-a2".into())]);
    assert!(world.engines.iter().all(|engine| engine.disk.head.is_root()));
    let why = &world.refusals[0];
    assert!(why.contains("refused by a2") && why.contains("route[0].via: wrong; other"), "{why}");
}

#[test]
fn while_it_is_away_it_is_not_asked_and_says_later_why_it_cannot() {
    let mut world = World::new();
    world.take(Step::Apply(0, "not-a2".into()));
    world.settle();
    let told: Vec<bool> = world.told.iter().map(|(_, _, both)| *both).collect();
    assert_eq!(told, [false]);
    // It stays behind, and cannot go a way of its own; a change that fits both ends it.
    world.take(Step::Apply(1, "two".into()));
    assert!(world.refusals[0].contains("which this engine has not taken"), "{:?}", world.refusals);
    world.take(Step::Apply(0, "three".into()));
    world.settle();
    assert_eq!(world.engines[0].disk, world.engines[1].disk);
    assert_eq!(&*world.engines[1].disk.text, "three");
}

#[test]
fn a_change_names_the_generation_that_it_was_made_from() {
    let mut world = settled(&[Step::Apply(0, "one".into())]);
    let replicator = world.engines[1].replicator.as_mut().expect("started");
    let mut out = Vec::new();
    let request = Request::Apply { base: 0, text: "two".into(), by: by("bob"), alone: false };
    replicator.step(Nanos(0), Input::Ask { id: 9, request }, &mut out);
    let Output::Answer { id: 9, result: Err(why) } = &out[0] else { panic!("{out:?}") };
    assert!(why.contains("made from generation 0, and 1 is in force, made by x at a1"), "{why}");
}

#[test]
fn nobody_answers_for_an_engine_that_does_not_speak() {
    let mut lone = Replicator::new("a1", Some("a2"), Version::root(hash), 0, hash);
    let mut out = Vec::new();
    lone.step(Nanos(0), Input::Linked { speaks: false }, &mut out);
    assert_eq!((out.len(), lone.relation()), (0, Relation::Unable));
    for (alone, checked) in [(false, false), (true, true)] {
        let request = Request::Apply { base: 0, text: "one".into(), by: by("bob"), alone };
        lone.step(Nanos(0), Input::Ask { id: 1, request }, &mut out);
        assert_eq!(matches!(out.pop(), Some(Output::Check { .. })), checked);
    }
}

#[test]
fn an_engine_that_does_not_answer_is_not_waited_for() {
    let mut world = World::new();
    world.settle();
    world.take(Step::Apply(0, "one".into()));
    world.take(Step::Finish(0));
    world.take(Step::Wait);
    assert!(world.refusals[0].contains("did not answer"), "{:?}", world.refusals);
    world.settle();
    assert!(world.engines.iter().all(|engine| engine.disk.head.is_root()));
}

/// What a peer could say that it should not.
fn forged() -> Vec<(&'static str, Head, String)> {
    let one = after(&Version::root(hash), "one");
    let two = after(&one, "two");
    let good = || (two.head.clone(), "two".to_owned());
    let with = |change: fn(&mut Head)| {
        let (mut head, text) = good();
        change(&mut head);
        (head, text)
    };
    let cases = [
        ("another text", (good().0, "twO".to_owned())),
        ("too long", (good().0, "x".repeat(DOCUMENT_MAX + 1))),
        ("generation 0", with(|head| head.revision.generation = 0)),
        ("generation too high", with(|head| head.revision.generation = u64::MAX)),
        ("another generation", with(|head| head.revision.generation += 1)),
        ("another author", with(|head| head.revision.author = "eve".into())),
        ("another name", with(|head| head.revision.id = Digest::of(b"eve", hash))),
        ("a name that is nobody's", with(|head| head.revision.id = Digest::ROOT)),
        ("no history", with(|head| head.ancestors.clear())),
        ("its own ancestor", with(|head| head.ancestors.push(head.revision.id))),
        ("a long history", with(|head| head.ancestors.resize(ANCESTORS_MAX + 1, head.ancestors[0]))),
        ("long words", with(|head| head.revision.note = "n".repeat(300))),
    ];
    cases.into_iter().map(|(what, (head, text))| (what, head, text)).collect()
}

#[test]
fn what_is_forged_or_damaged_is_refused_and_counted() {
    for (what, head, text) in forged() {
        for offered in [true, false] {
            let one = after(&Version::root(hash), "one");
            let mut engine = Replicator::new("a2", Some("a1"), one.clone(), 1, hash);
            let mut out = Vec::new();
            engine.step(Nanos(0), Input::Linked { speaks: true }, &mut out);
            Word::pieces(&text).for_each(|piece| engine.step(Nanos(0), Input::Word(piece), &mut out));
            let (since, head) = (id(&one), Box::new(head.clone()));
            let word = if offered { Word::Offer { since, head } } else { Word::Prepare { since, head } };
            out.clear();
            engine.step(Nanos(0), Input::Word(word), &mut out);
            assert!(out.iter().any(|o| matches!(o, Output::Send(Word::Refuse { .. }))), "{what}: {out:?}");
            assert!(!out.iter().any(|o| matches!(o, Output::Check { .. })), "{what}");
            assert_eq!((engine.malformed(), engine.version()), (1, &one), "{what}");
        }
    }
}

#[test]
fn an_old_generation_never_replaces_a_newer_one() {
    let one = after(&Version::root(hash), "one");
    let three = one.next(None, "three".into(), ("a1", by("x")), 7, hash).expect("a generation");
    assert_eq!(three.head.revision.generation, 8, "above the floor");
    let mut engine = Replicator::new("a2", Some("a1"), three.clone(), 8, hash);
    let mut out = Vec::new();
    engine.step(Nanos(0), Input::Linked { speaks: true }, &mut out);
    // It claims to follow ours with a lower number.
    let mut head = after(&three, "four").head;
    head.revision.generation = 5;
    Word::pieces("four").for_each(|piece| engine.step(Nanos(0), Input::Word(piece), &mut out));
    let word = Word::Offer { since: id(&three), head: Box::new(head) };
    engine.step(Nanos(0), Input::Word(word), &mut out);
    assert_eq!((engine.malformed(), engine.version()), (1, &three));
    let last = Version::root(hash).next(None, "x".into(), ("a1", by("x")), GENERATION_MAX - 1, hash);
    let last = last.expect("the last generation");
    assert!(last.next(None, "y".into(), ("a1", by("x")), 0, hash).is_none(), "there is none after it");
}

#[test]
fn long_texts_and_histories_go_over_the_wire() {
    let text: String = (0..DOCUMENT_MAX / 12).map(|n| format!("\"ü\"\n# {n:05}\n")).collect();
    let text = &text[..(0..=DOCUMENT_MAX).rev().find(|end| text.is_char_boundary(*end)).expect("some")];
    let pieces: Vec<Word> = Word::pieces(text).collect();
    let joined: String = pieces
        .iter()
        .map(|piece| match piece {
            Word::Piece { text } => text.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(joined, text);
    let mut world = settled(&[Step::Apply(0, text.to_owned())]);
    for round in 0..ANCESTORS_MAX + 10 {
        world.take(Step::Apply(round % 2, format!("{round}")));
        world.settle();
        // What is named no more cannot be looked up.
        world.told.clear();
    }
    let head = &world.engines[0].disk.head;
    assert_eq!((head.ancestors.len(), head.revision.generation), (ANCESTORS_MAX, ANCESTORS_MAX as u64 + 11));
    assert_eq!(world.engines[0].disk, world.engines[1].disk);
}

#[test]
fn digests_are_written_in_one_way() {
    let digest = Digest::of(b"x", hash);
    let text = String::from(digest);
    assert_eq!(Digest::try_from(text.clone()), Ok(digest));
    for wrong in
        [text.to_uppercase(), text[1..].to_owned(), format!("{text}0"), text.replacen(&text[..1], "g", 1)]
    {
        assert!(Digest::try_from(wrong.clone()).is_err() || wrong == text, "{wrong}");
    }
}
