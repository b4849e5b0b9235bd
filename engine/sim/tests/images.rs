//! An engine's machine is set back to an earlier state, memory and all: what no engine can bear by itself, and why the
//! README says that such an image must not be run. These tests show where the harm is and where it ends.

use dataplane::id::Nanos;
use sim::checkers::Rule;
use sim::{Cluster, Fault, Options};

/// The same moment twice: from the one life goes on, the other is the image.
fn before() -> [Cluster; 2] {
    [(); 2].map(|()| {
        let mut cluster = Cluster::new(Options::seed(42));
        // Keys that cannot be renewed are not of use any more after that, the README says: nothing is sent under them.
        cluster.partner.spacing = Nanos::from_millis(3_600_000);
        cluster.run_ms(6000);
        cluster.hosts.talking = true;
        cluster.run_ms(1000);
        cluster
    })
}

/// Keys and counters are those of then, and so are the nonces, until the engine has found its connections broken and has
/// got new keys. Nothing but new keys helps: all that the engine could look at to notice is set back with it.
#[test]
fn an_image_of_memory_repeats_nonces_until_it_has_new_keys() {
    let [mut cluster, mut image] = before();
    cluster.run_ms(3000);
    let set_back = cluster.now;
    cluster.run_image("a1", &mut image, true);
    cluster.run_ms(8000);
    let last = cluster.checkers.nonces.repeated.expect("the checker sees that nonces repeat");
    let late = last.since(set_back).as_millis();
    assert!(late < 1000, "they still repeat after {late} ms");
}

/// a1's machine is set back to a second before its death, long after a2 has taken over, and its memory runs on.
fn run_on(clock_too: bool) -> Cluster {
    let [mut cluster, mut image] = before();
    cluster.run_ms(1000);
    cluster.apply(Fault::Kill("a1"));
    cluster.run_ms(2500);
    assert_eq!(cluster.owner(), Some("a2"));
    cluster.run_image("a1", &mut image, clock_too);
    cluster.run_ms(8000);
    assert_eq!(cluster.owner(), Some("a2"), "an old epoch owns nothing");
    cluster.must_deliver(500);
    cluster.end();
    cluster
}

/// With a clock that went on, its lease is over. With one that was set back it believes to own the site, and that is all:
/// nothing that it sends is accepted, for its epoch is over, and its site recovers by itself.
#[test]
fn an_image_of_memory_is_refused_by_all_others() {
    for (clock_too, may_be_broken) in [(true, &[Rule::Nonces, Rule::Owners][..]), (false, &[Rule::Nonces])] {
        for violation in run_on(clock_too).checkers.violations() {
            assert!(may_be_broken.contains(&violation.rule), "{violation:?}");
            let claims = violation.rule != Rule::Owners || violation.what.starts_with("two owners");
            assert!(claims, "{violation:?}");
        }
    }
}

/// What is left to do, and harmless: what was in memory ends before it runs, and the engine starts anew, on the disk and
/// by the wall clock of then.
#[test]
fn an_engine_that_starts_anew_on_an_earlier_disk_breaks_no_rule() {
    for (seed, engine) in (0..12).zip(["a1", "a2", "b1"].into_iter().cycle()) {
        let mut cluster = Cluster::new(Options::seed(seed));
        cluster.run_ms(6000);
        cluster.hosts.talking = true;
        for age in [10, 3000, 9000] {
            cluster.apply(Fault::Restore(engine, age));
            cluster.run_ms(4000);
        }
        cluster.run_ms(6000);
        cluster.must_deliver(500);
        cluster.end();
        cluster.assert_rules();
    }
}
