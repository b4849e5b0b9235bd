//! `[shadow]`.

use super::*;
use crate::plan::Plan;

const SHADOW: &str = "[shadow]\nport = 7002\nto = [\"a2\"]\nfrom = [\"a2\"]\nflows = false\n";

#[test]
fn the_other_engine_of_the_site_is_the_default() {
    let plan =
        |text: &str| Plan::from_config(&Config::parse(&format!("{GOOD}{text}")).expect("valid")).shadow;
    let default = plan("[shadow]\n").expect("it is there");
    let ha = Config::parse(GOOD).expect("valid").ha.expect("a pair").peer.to_string();
    assert_eq!((default.to.len(), &default.to[0].0), (1, &ha));
    assert_eq!((default.from, default.listen.port(), default.to[0].1.port()), (vec![ha], 7001, 7001));
    assert_eq!(plan(SHADOW).expect("there").to[0].1.port(), 7002);
    assert_eq!(plan(""), None);
}

/// As in [`MISTAKES`].
const WRONG: &[(&str, &str, &str, &str, &str)] = &[
    ("port = 7002", "port = 0", "shadow.port", "out of range", ""),
    ("port = 7002", "port = 7000", "shadow.port", "port of control.listen", "another one"),
    ("to = [\"a2\"]", "to = [\"a3\"]", "shadow.to[0]", "no peer \"a3\"", "a2"),
    ("to = [\"a2\"]", "to = [\"a2\", \"a2\"]", "shadow.to[1]", "named already", "once"),
    ("from = [\"a2\"]", "from = \"a2\"", "shadow.from", "", ""),
    ("flows = false", "flow = false", "shadow.flow", "unknown key", "flows"),
    ("flows = false", "flows = false\nsas = false", "shadow.flows", "nothing to shadow", "[sessions]"),
];

#[test]
fn every_mistake_names_its_path_and_its_remedy() {
    let good = format!("{GOOD}{SHADOW}");
    Config::parse(&good).expect("valid");
    for (from, to, path, what, remedy) in WRONG {
        let at = good.find("[shadow]").expect("there");
        assert!(good[at..].contains(from), "the base lacks {from:?}");
        let problems = errors(&format!("{}{}", &good[..at], good[at..].replacen(from, to, 1)));
        let found = problems
            .iter()
            .any(|p| p.path.starts_with(path) && p.what.contains(what) && p.remedy.contains(remedy));
        assert!(found, "{from:?} -> {to:?}: wanted {path}: …{what}…; …{remedy}…\ngot {problems:#?}");
    }
}
