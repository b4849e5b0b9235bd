//! What is wrong with `[prediction.learning]`.

use super::*;
use std::time::Duration;

/// The good configuration with this behind the section's name.
fn learning(keys: &str) -> String {
    GOOD.replace("[api]", &format!("[prediction.learning]\n{keys}\n[api]"))
}

#[test]
fn times_are_a_day_and_an_hour_or_as_short_as_a_laboratory_needs() {
    let plan = |keys| {
        let config = Config::parse(&learning(keys)).expect("valid");
        crate::plan::Plan::from_config(&config).learning.expect("learning")
    };
    let usual = plan("store = \"s\"");
    assert_eq!((usual.retrain, usual.shadow), (Duration::from_secs(86_400), Duration::from_secs(3600)));
    let short = plan("store = \"s\"\nretrain_hours = 0.0125\nshadow_minutes = 0.25");
    assert_eq!((short.retrain, short.shadow), (Duration::from_secs(45), Duration::from_secs(15)));
}

#[test]
fn every_mistake_is_told_with_its_place_and_remedy() {
    let mistakes = [
        ("history = \"h\"", "store", "is missing", "store"),
        ("store = \"s\"\nrecordings = \"r\"", "recordings", "nothing is trained", "history"),
        ("store = \"s\"\nretrain_hours = 0", "retrain_hours", "0 is out of range", "from 0.01 to 8760"),
        ("store = \"s\"\nretrain_hours = nan", "retrain_hours", "NaN is out of range", "from 0.01 to 8760"),
        ("store = \"s\"\nshadow_minutes = \"1\"", "shadow_minutes", "not a number", "from 0.1 to 10080"),
        ("store = \"s\"\nhistory_mb = 0.5", "history_mb", "not a whole number", "from 1"),
    ];
    for (keys, key, what, remedy) in mistakes {
        let errors = Config::parse(&learning(keys)).expect_err(keys).to_string();
        for part in [&format!("prediction.learning.{key}"), what, remedy] {
            assert!(errors.contains(part), "{keys}: {errors}");
        }
    }
}
