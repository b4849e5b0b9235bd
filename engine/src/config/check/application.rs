//! What `[[check]]` says of itself and of groups.

use super::Check;
use control::checks::CHECKS_MAX;

pub fn check(c: &mut Check<'_>) {
    let config = c.config;
    let names = config.checks.iter().map(|check| (check.index, &check.name));
    c.unique("check", "name", names, "give each check a name of its own");
    for check in &config.checks {
        if let Some(group) = &check.group {
            c.refers(format!("check[{}].group", check.index), "group", group);
        }
    }
    if let Some(first) = config.checks.get(CHECKS_MAX) {
        let what = format!("{} checks: an engine has {CHECKS_MAX} at most", config.checks.len());
        c.wrong(format!("check[{}]", first.index), what, "remove some");
    }
}
