//! What a person types and reads.

use super::table::Table;
use super::*;
use crate::api::status::{Decision, Status, WorkerStatus};
use crate::api::tests as samples;
use crate::config::Config;
use control::decision::Outcome;
use dataplane::id::Nanos;

#[test]
fn the_commands_of_the_readme_are_understood() {
    Cli::command().debug_assert();
    let good = [
        "run -c a1.toml",
        "check -c a1.toml",
        "show status -s /run/a1.sock",
        "show decisions --json -c a1.toml",
        "drain -s /run/a1.sock",
        "trace -s /run/a1.sock --count 3 --json host 10.1.0.10 and not tcp",
        "trace -c a1.toml",
        "capture -s /run/a1.sock --port wan --direction tx --snaplen 128 -w wan.pcapng",
        "capture -s /run/a1.sock --tunnel a1-b1 --side outside -w - --filter udp",
        "capture -s /run/a1.sock --drop no_route --count 5 --seconds 10",
        "capture -s /run/a1.sock --drop any",
        "drain --overrule -s /run/a1.sock",
        "show switchover -s /run/a1.sock",
        "show checks -s /run/a1.sock --json",
        "approve 3 -s /run/a1.sock",
        "mode observe -c a1.toml",
        "bench --case esp-encrypt --size 512 --json",
        "predict eval --task ad --data data --out scores.csv",
        "predict eval --task nab --data data --out scores.csv",
        "predict eval --task forecast --data data --out forecasts.csv",
        "predict eval --task engine --data engine.parquet --out p.csv --beside others.csv --pictures pictures",
        "predict train --task engine --data engine.parquet --model m --hold-out loss --hold-out-load daily --seed 2",
        "predict train --task ramp --data data --calm-rows 5000",
        "predict explain --task engine --data engine.parquet --run r --at 12.5",
        "predict explain --task ramp --data data --run r --node n --minute 7",
        "predict card --task engine",
        "predict record -s /run/a1.sock --out calm.jsonl --seconds 5 --kind stopped-short",
        "predict retrain --store models --history history --recordings engine.parquet",
        "predict models -c a1.toml",
        "predict rollback own-17 --store models",
        "predict replay run.jsonl --model models/own-17 -c a1.toml",
        "pki --out pki --name a1 --name b1",
        "completions bash",
    ];
    for line in good {
        let words = ["foreshift"].into_iter().chain(line.split(' '));
        assert!(Cli::try_parse_from(words).is_ok(), "{line}");
    }
    for line in [
        "run",
        "show status",
        "show rockets -s x",
        "mode wild -s x",
        "drain -s x -c y",
        "bench --case ipv4",
        "trace host 10.1.0.10",
        "capture -s x",
        "capture -s x --port wan --drop any",
        "capture -s x --tunnel a1-b1",
        "capture -s x --port wan --side inside",
        "capture -s x --drop any --direction rx",
        "capture -s x --drop no_rout",
        "predict eval --task weather --data data --out x.csv",
        "predict eval --task ad --data data",
        "predict models",
        "predict rollback --store models",
        "predict record --out calm.jsonl",
    ] {
        let words = ["foreshift"].into_iter().chain(line.split(' '));
        assert!(Cli::try_parse_from(words).is_err(), "{line}");
    }
}

#[test]
fn the_configuration_commands_are_understood() {
    let parse = |line: &str| Cli::try_parse_from(["foreshift"].into_iter().chain(line.split(' ')));
    for line in [
        "config show -c a1.toml",
        "config show 3 -c a1.toml",
        "config show --json -s /run/a1.sock",
        "config apply site.toml --note why -s /run/a1.sock",
        "config apply site.toml --from 3 --alone -s /run/a1.sock",
        "config diff site.toml -s /run/a1.sock",
        "config diff --theirs -s /run/a1.sock",
        "config history -s /run/a1.sock",
        "config rollback 3 -s /run/a1.sock",
        "config resolve --take theirs -s /run/a1.sock",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
    for line in ["config apply -s x", "config diff -s x", "config resolve -s x"] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn completions_know_the_commands() {
    let mut script = Vec::new();
    clap_complete::generate(Shell::Bash, &mut Cli::command(), "foreshift", &mut script);
    let script = String::from_utf8(script).expect("text");
    for word in ["undrain", "esp-encrypt", "trace", "capture", "--snaplen", "neighbor_unresolved", "outside"]
    {
        assert!(script.contains(word), "{word}");
    }
}

#[test]
fn tables_align_words_left_and_numbers_right() {
    let mut table = Table::new(&["name", "address", "packets"]);
    table.row(["a".into(), "192.0.2.1".into(), "7".into()]);
    table.row(["long-name".into(), "fd00::1".into(), "-".into()]);
    let expected =
        "name       address    packets\na          192.0.2.1        7\nlong-name  fd00::1          -\n";
    assert_eq!(table.render("none"), expected);
    assert_eq!(Table::new(&["x"]).render("none"), "none\n");
}

#[test]
fn status_reads_at_a_glance() {
    let text = show::status(&samples::status());
    for line in [
        "engine       a1 of site a, ready",
        "uptime       1m 05s",
        "role         active, epoch 1700000001, owner a1",
        "prediction   0.250 within 5000 ms, threshold 0.750, drift 0.500, mode auto",
        "driven by    loss_tx 1.50",
        "crypto       ipsec-mb: the faster one",
        "switchover   to a2: shift, step 2 of 4 (25 %), since 1.5 s",
        "site-b  b     a1-b1   b1      75.00    49152           9",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
    }
    let silent = Status { probability: None, switchover: None, alarm: true, ..samples::status() };
    let text = show::status(&silent);
    assert!(text.contains("no opinion") && text.contains("alarm        RAISED"), "{text}");
}

#[test]
fn tunnels_workers_and_drops_keep_their_units() {
    let text = show::tunnels(&[samples::tunnel()]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[1][..10],
        ["a1-b1", "esp", "aes-256-gcm", "up", "b1", "192.0.2.11", "2001:db8::20", "1446", "1250.0", "-"]
    );
    assert_eq!(lines[1][10..], ["2.00", "0.00", "9", "8", "49152"]);
    assert_eq!(
        lines[3..],
        [
            "peer of public key port last handshake s tx keepalives rx keepalives".split(' ').collect(),
            vec!["a1-b1", "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", "51820", "12.5", "3", "4"],
            vec![],
            vec!["shaper", "of", "kbit/s", "class", "at", "most", "kbit/s", "waited", "dropped"],
            vec!["a1-b1", "100000", "voice", "20000", "7", "2"],
        ]
    );
    let text = show::workers(&[WorkerStatus { core: 3, busy_share: 0.125, ..WorkerStatus::default() }]);
    assert_eq!(
        text.lines().nth(1).map(|l| l.split_whitespace().collect()),
        Some(vec!["0", "3", "12.5", "0", "0", "-", "-", "0.0", "0", "0"])
    );
    let text = show::drops(&samples::drops());
    assert!(text.contains("unaccounted for      0"), "{text}");
    assert!(text.contains("no_route         2"), "{text}");
}

#[test]
fn a_decision_says_why() {
    let decision = Decision {
        id: 3,
        at: Nanos::from_millis(12_500),
        action: "shift a1 -> a2".into(),
        rule: "probability > threshold".into(),
        inputs: vec![("probability".into(), "0.91".into())],
        outcome: Outcome::RolledBack,
    };
    let expected = "#3 at 12.500 s: shift a1 -> a2 (rolled back)\n   rule: probability > threshold\n   from: probability 0.91\n";
    assert_eq!(show::decisions(&[decision]), expected);
}

#[test]
fn check_sums_up_what_would_run() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/lab/a1.toml");
    let summary = check::summary(&Plan::from_config(&Config::load(&folder).expect("valid")));
    let tunnel = "tunnel a1-b1: esp 192.0.2.11 -> 192.0.2.20 (b1) by 192.0.2.20 out of wan, inner mtu 1446";
    assert!(summary.contains(tunnel), "{summary}");
}
