//! Two texts, line by line.

/// Lines around a difference that are shown.
const AROUND: usize = 2;
/// More lines than this, once equal beginnings and ends are left out, are shown as replaced whole.
const LINES_MAX: usize = 4000;

/// A line and what became of it: ' ', '-' or '+'.
type Line<'a> = (char, &'a str);

/// What differs, with `-` before lines of `old` and `+` before those of `new`; empty if nothing does.
pub fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let ahead = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let behind = old[ahead..].iter().rev().zip(new[ahead..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[ahead..old.len() - behind], &new[ahead..new.len() - behind]);
    let same = |lines: &[&'_ str]| lines.len();
    let mut all: Vec<Line<'_>> = old[..ahead].iter().map(|line| (' ', *line)).collect();
    all.extend(if same(a).max(same(b)) > LINES_MAX { replaced(a, b) } else { changes(a, b) });
    all.extend(old[old.len() - behind..].iter().map(|line| (' ', *line)));
    shown(&all)
}

fn replaced<'a>(a: &[&'a str], b: &[&'a str]) -> Vec<Line<'a>> {
    a.iter().map(|line| ('-', *line)).chain(b.iter().map(|line| ('+', *line))).collect()
}

/// By the longest common subsequence.
fn changes<'a>(a: &[&'a str], b: &[&'a str]) -> Vec<Line<'a>> {
    let width = b.len() + 1;
    let mut common = vec![0u16; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i * width + j] = match a[i] == b[j] {
                true => common[(i + 1) * width + j + 1] + 1,
                false => common[(i + 1) * width + j].max(common[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            lines.push((' ', a[i]));
            (i, j) = (i + 1, j + 1);
        } else if common[(i + 1) * width + j] >= common[i * width + j + 1] {
            lines.push(('-', a[i]));
            i += 1;
        } else {
            lines.push(('+', b[j]));
            j += 1;
        }
    }
    lines.extend(replaced(&a[i..], &b[j..]));
    lines
}

/// The differences and a few lines around them.
fn shown(all: &[Line<'_>]) -> String {
    let near = |at: usize| {
        let around = at.saturating_sub(AROUND)..(at + AROUND + 1).min(all.len());
        all[around].iter().any(|(kind, _)| *kind != ' ')
    };
    let (mut text, mut left_out) = (String::new(), false);
    for (at, (kind, line)) in all.iter().enumerate() {
        if near(at) {
            if left_out && !text.is_empty() {
                text += "…\n";
            }
            text.push(*kind);
            text += line;
            text.push('\n');
        }
        left_out = !near(at);
    }
    text
}

/// A time of UNIX milliseconds as a person reads it, UTC (days to a date as in the proleptic Gregorian calendar).
pub fn utc(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (days, second) = ((seconds / 86_400).min(2_900_000), seconds % 86_400);
    // Years from the first of March, so that a leap day is the last of its year; an era has 146,097 days.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + carry;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shown_with_what_is_around_them() {
        assert_eq!(diff("a\nb\n", "a\nb\n"), "");
        assert_eq!(diff("a\nb\nc\nd\ne\nf", "a\nb\nc\nX\ne\nf"), " b\n c\n-d\n+X\n e\n f\n");
        assert_eq!(diff("", "x"), "+x\n");
        let long: String = (0..20).map(|n| format!("{n}\n")).collect();
        let other = long.replacen("1\n", "", 1).replacen("17\n", "18a\n", 1);
        assert_eq!(diff(&long, &other), " 0\n-1\n 2\n 3\n…\n 15\n 16\n-17\n+18a\n 18\n 19\n");
    }

    #[test]
    fn times_are_dates() {
        let at = |seconds: u64| utc(seconds * 1000);
        assert_eq!(at(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(at(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00:00 UTC");
        assert_eq!(at(1_795_291_200), "2026-11-21 20:00:00 UTC");
        assert!(!utc(u64::MAX).is_empty());
    }
}
