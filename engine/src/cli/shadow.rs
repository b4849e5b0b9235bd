//! Shadowing, for a person.

use super::table::Table;
use crate::api::shadow::ShadowStatus;

/// Those that hold this engine's sessions, and those whose it holds.
pub fn shadow(status: Option<&ShadowStatus>) -> String {
    let Some(s) = status else { return "nothing is shadowed: there is no [shadow]\n".to_owned() };
    let ms = |us: Option<u64>| us.map_or("-".to_owned(), |us| format!("{:.1} ms", us as f64 / 1e3));
    let yes = |flag: bool| if flag { "yes" } else { "NO" }.to_owned();
    let mut to =
        Table::new(&["shadow", "connected", "in sync", "on the way", "acknowledged", "lag p50", "lag p99"]);
    for t in &s.to {
        to.row([
            t.engine.clone(),
            yes(t.connected),
            yes(t.in_sync),
            t.pending.to_string(),
            t.acknowledged.to_string(),
            ms(t.lag_p50_us),
            ms(t.lag_p99_us),
        ]);
    }
    let mut from = Table::new(&["holds those of", "connected", "changes", "to be done", "SAs"]);
    for f in &s.from {
        let numbers = [f.entries, f.pending as u64, f.sas as u64].map(|number| number.to_string());
        let [entries, pending, sas] = numbers;
        from.row([f.engine.clone(), yes(f.connected), entries, pending, sas]);
    }
    let line = format!(
        "copies installed {}, gone on here {}, refused {}; rounds {}, reports lost {}\n",
        s.copied, s.adopted, s.refused, s.rounds, s.reports_lost
    );
    format!("{}\n{}\n{line}", to.render("no shadow"), from.render("holds nobody's"))
}
