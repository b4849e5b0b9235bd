//! "Did you mean": the known name nearest to a misspelt one.

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The known name that is near enough to be what was meant.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let reach = (name.chars().count() / 3).max(1);
    known.iter().map(|k| (distance(name, k), *k)).filter(|(d, _)| *d <= reach).min().map(|(_, k)| k)
}

/// `did you mean "x"?`, or else all known names, or else that there are none.
pub fn remedy(name: &str, kind: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(k) => format!("did you mean \"{k}\"?"),
        None if known.is_empty() => format!("add a [[{kind}]] of this name"),
        None => format!("known: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_typo_and_refuses_the_stranger() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(nearest("remot", &["local", "remote"]), Some("remote"));
        assert_eq!(nearest("b2", &["a1", "b1"]), Some("b1"));
        assert_eq!(nearest("colour", &["local", "remote"]), None);
    }
}
