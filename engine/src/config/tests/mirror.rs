//! What is wrong with `[mirror]`.

use super::*;

const MIRROR: &str = "[mirror]\nshare = 0.05\n[api]";

#[test]
fn it_is_off_by_default_and_has_defaults() {
    assert_eq!(Config::parse(GOOD).unwrap().mirror, None);
    let mirror = Config::parse(&GOOD.replace("[api]", MIRROR)).unwrap().mirror.expect("a mirror");
    let limits = (mirror.packets_per_second.get(), mirror.kilobytes_per_second.get());
    assert_eq!((mirror.share.get(), limits, mirror.rotate().as_secs()), (0.05, (20_000, 4_000), 600));
}

#[test]
fn every_mistake_is_told_with_its_place_and_remedy() {
    let ha = "[ha]\nrole = \"active\"\npeer = \"a2\"\nwitness = \"b1\"\nlease_ms = 400\n";
    let mistakes = [
        ("share = 0.05", "share = 0.5", "mirror.share", "not between 0.01 and 0.05", "from 0.01 to 0.05"),
        ("share = 0.05", "share = 0.001", "mirror.share", "not between 0.01 and 0.05", "remove [mirror]"),
        ("share = 0.05", "share = \"5 %\"", "mirror.share", "is a string, not a number", "from 0.01"),
        ("share = 0.05", "rate = 0.05", "mirror.share", "is missing", "write share = 0.05"),
        ("share = 0.05", "share = 0.05\nrotate = 1", "mirror.rotate", "unknown key", "rotate_seconds"),
        (
            "share = 0.05",
            "share = 0.05\npackets_per_second = 0",
            "mirror.packets_per_second",
            "out of range",
            "from 1",
        ),
        (ha, "", "mirror", "nobody to mirror to", "write [ha]"),
    ];
    let good = GOOD.replace("[api]", MIRROR);
    for (from, to, path, what, remedy) in mistakes {
        assert!(good.contains(from), "{from}");
        let problems = Config::parse(&good.replace(from, to)).expect_err(to).problems;
        let told = problems.iter().find(|p| p.path == path && p.what.contains(what));
        let told = told.unwrap_or_else(|| panic!("{to}: {problems:?}"));
        assert!(told.remedy.contains(remedy), "{to}: {}", told.remedy);
    }
}
