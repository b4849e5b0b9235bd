//! `[site]`, and texts that lie over a file.

use super::*;
use crate::config::access::AccessList;
use crate::config::site::OwnFile;
use dataplane::acl::Action;

const SHAPED: &str = "[tunnel.shaper]\nrate_kbps = 1000\n[[tunnel.shaper.class]]\nname = \"voice\"\ndscp = [46]\n\
                      rate_kbps = 100\n[[tunnel.shaper.class]]\nname = \"rest\"\n";

/// Two routes of the file, one of them `via` a router; a shaper on the ESP tunnel.
fn own() -> OwnFile {
    let text =
        GOOD.replacen("remote = \"198.51.100.20\"\n", &format!("remote = \"198.51.100.20\"\n{SHAPED}"), 1);
    let folder = std::env::temp_dir().join(format!(
        "foreshift-own-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::write(&folder, text).expect("written");
    let own = OwnFile::load(&folder).expect("valid");
    std::fs::remove_file(&folder).expect("removed");
    own
}

fn routes(config: &Config) -> Vec<(String, &RouteTarget)> {
    config.routes.iter().map(|route| (route.prefix.to_string(), &route.target)).collect()
}

#[test]
fn the_section_names_a_folder() {
    let site = |text: &str| Config::parse(&format!("{GOOD}{text}")).map(|config| config.site);
    let given = site("[site]\nkeep = \"state/a1\"\n").expect("valid").expect("there");
    assert_eq!((given.keep.to_str(), given.history.get()), (Some("state/a1"), 32));
    assert_eq!(site("").expect("valid"), None);
    for (text, path) in [("history = 9", "site.keep"), ("keep = \"x\"\nhistory = 1", "site.history")] {
        let problems = errors(&format!("{GOOD}[site]\n{text}\n"));
        assert!(problems.iter().any(|problem| problem.path == path), "{text}: {problems:#?}");
    }
}

#[test]
fn a_text_takes_the_place_of_what_it_mentions_and_of_nothing_else() {
    let own = own();
    assert_eq!(own.with_site("").expect("valid"), *own.config());
    let site = own.with_site("[[route]]\nprefix = \"10.9.0.0/16\"\ngroup = \"site-b\"\n").expect("valid");
    let (group, router) =
        (RouteTarget::Group(value_of("site-b")), RouteTarget::Via("192.0.2.1".parse().unwrap()));
    assert_eq!(routes(&site), [("10.9.0.0/16".to_owned(), &group), ("0.0.0.0/0".to_owned(), &router)]);
    assert_eq!(
        (&site.acl, &site.groups, &site.prediction),
        (&None, &own.config().groups, &own.config().prediction)
    );
    let none = own.with_site("route = []\n").expect("valid");
    assert_eq!(routes(&none).len(), 1, "the way out stays");
    let way = own.with_site("[[route]]\nprefix = \"0.0.0.0/0\"\nvia = \"192.0.2.9\"\n").expect("valid");
    assert_eq!(routes(&way), [("0.0.0.0/0".to_owned(), &RouteTarget::Via("192.0.2.9".parse().unwrap()))]);
    let rest = "[acl]\ndefault = \"permit\"\n[prediction]\nmode = \"observe\"\n[[group]]\nname = \"site-b\"\nsla_weight = 2.0\n\
                mss_clamp = false\n[[group.shaper]]\nrate_kbps = 500\n[[group.shaper.class]]\nname = \"voice\"\nrate_kbps = 50\n";
    let site = own.with_site(rest).expect("valid");
    assert_eq!(site.acl, Some(AccessList { default: Action::Permit, rules: vec![] }));
    assert_eq!(site.prediction.mode, types::Mode::Observe);
    assert_eq!((site.groups[0].sla_weight.get(), site.groups[0].mss_clamp), (2.0, false));
    let shaper = site.tunnels[0].shaper.as_ref().expect("there");
    assert_eq!((shaper.rate_kbps.get(), shaper.classes[0].rate_kbps.map(|rate| rate.get())), (500, Some(50)));
    assert_eq!(site.routes, own.config().routes);
}

#[test]
fn what_of_a_file_could_be_shared_says_what_the_file_says() {
    let own = own();
    let text = own.shareable();
    let site = own.with_site(&text).unwrap_or_else(|problems| panic!("{text}{problems:#?}"));
    assert_eq!(
        Config { digest: String::new(), ..site },
        Config { digest: String::new(), ..own.config().clone() }
    );
}

/// (the text, path, part of what is wrong, part of the remedy)
const WRONG: &[(&str, &str, &str, &str)] = &[
    ("[[route]\n", "line 1, column", "", "correct the TOML"),
    ("[[tunnel]]\nname = \"x\"\n", "tunnel", "belongs to each engine alone", "a site has route, acl"),
    ("[nat]\n", "nat", "belongs to each engine alone", "remove it"),
    ("[rout]\n", "rout", "unknown section", "did you mean \"route\"?"),
    ("[[route]]\nprefix = \"10.9.0.0/16\"\n", "route[0].prefix", "has 0 targets", "exactly one"),
    (
        "[[route]]\nprefix = \"10.9.0.1/16\"\nblackhole = true\n",
        "route[0].prefix",
        "host bits",
        "10.9.0.0/16",
    ),
    (
        "[[route]]\nprefix = \"10.9.0.0/16\"\ngroup = \"site-c\"\n",
        "route[0].group",
        "no group \"site-c\"",
        "site-b",
    ),
    (
        "[[route]]\nprefix = \"10.9.0.0/16\"\nvia = \"203.0.113.1\"\n",
        "route[0].via",
        "on no network",
        "neighbour",
    ),
    ("[[route]]\nprefix = \"10.9.0.0/16\"\nvia = \"192.0.2.11\"\n", "route[0].via", "this engine itself", ""),
    ("[acl]\nrules = 1\n", "acl.rules", "unknown key", "\"rule\""),
    (
        "[acl]\n[[acl.rule]]\naction = \"permit-session\"\n",
        "acl.rule[0].action",
        "no sessions are kept here",
        "",
    ),
    (
        "[acl]\n[[acl.rule]]\naction = \"deny\"\ninterface = \"dmz\"\n",
        "acl.rule[0].interface",
        "no interface \"dmz\"",
        "",
    ),
    ("[prediction]\nmodel = \"m\"\n", "prediction.model", "unknown key", ""),
    ("[prediction]\nthreshold = 2\n", "prediction.threshold", "not a probability", ""),
    ("[[group]]\nsla_weight = 1\n", "group[0].name", "is missing", ""),
    ("[[group]]\nname = \"site-c\"\n", "group[0].name", "no group \"site-c\"", "engines' files"),
    ("[[group]]\nname = \"site-b\"\nmembers = []\n", "group[0].members", "unknown key", ""),
    ("[[group]]\nname = \"site-b\"\n[[group.shaper]]\n", "group[0].shaper[0].rate_kbps", "is missing", ""),
    (
        "[[group]]\nname = \"site-b\"\n[[group.shaper]]\nprotocol = \"gre\"\nrate_kbps = 9\n",
        "group[0].shaper[0]",
        "no tunnel of the group has a shaper",
        "[tunnel.shaper]",
    ),
    (
        "[[group]]\nname = \"site-b\"\n[[group.shaper]]\n[[group.shaper.class]]\nname = \"rest\"\nrate_kbps = 9\n",
        "group[0].shaper[0].class[0].name",
        "no class \"rest\" with a rate of its own",
        "rate_kbps in the engines' files",
    ),
];

#[test]
fn every_mistake_names_its_path_and_its_remedy() {
    let own = own();
    for (text, path, what, remedy) in WRONG {
        let problems = own.with_site(text).expect_err(text);
        let found = problems
            .iter()
            .any(|p| p.path.starts_with(path) && p.what.contains(what) && p.remedy.contains(remedy));
        assert!(found, "{text}: wanted {path}: …{what}…; …{remedy}…\ngot {problems:#?}");
    }
    // What of the file it contradicts has the file's name before its path.
    let covers = "[[route]]\nprefix = \"198.51.100.20/32\"\ngroup = \"site-b\"\n";
    let problems = own.with_site(covers).expect_err("tunnels do not run inside tunnels");
    assert!(
        problems[0].path.ends_with(", tunnel[0].remote") && problems[0].what.contains("leads into"),
        "{problems:#?}"
    );
}

#[test]
fn the_example_fits_both_engines_of_the_lab() {
    let configs = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs");
    let text = std::fs::read_to_string(format!("{configs}/site/a.conf")).expect("there");
    for name in ["a1", "a2"] {
        let own = OwnFile::load(Path::new(&format!("{configs}/lab/{name}.toml"))).expect("valid");
        let config = own.with_site(&text).unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert_eq!((config.routes.len(), config.acl.map(|acl| acl.rules.len())), (3, Some(1)));
    }
}
