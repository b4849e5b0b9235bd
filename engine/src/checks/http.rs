//! HTTP: a GET and what must come back. HTTP/1.0, so that no server answers in chunks or ahead of the answer (RFC 9112 §6.1,
//! RFC 9110 §15.2), and the connection ends with it.

use super::{Dialogue, Step};
use std::ops::RangeInclusive;

/// The longest head, octets.
const HEAD_MAX: usize = 16 * 1024;
/// Of the body so much is looked at, octets.
pub const BODY_MAX: usize = 64 * 1024;

/// What is asked and expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Path and query.
    pub path: String,
    /// The Host field.
    pub host: String,
    /// Good status codes.
    pub status: Vec<RangeInclusive<u16>>,
    /// What the first [`BODY_MAX`] octets of the body must contain.
    pub body: Option<String>,
}

/// One attempt.
#[derive(Debug)]
pub struct Http<'a> {
    request: &'a Request,
    received: Vec<u8>,
}

impl<'a> Http<'a> {
    pub fn new(request: &'a Request) -> Http<'a> {
        Http { request, received: Vec::new() }
    }

    /// What is known of the answer so far; `whole`: no more comes.
    fn judged(&self, whole: bool) -> Step {
        let Some((head, body)) = split(&self.received) else {
            return match (self.received.len() > HEAD_MAX + 3, whole) {
                (true, _) => Step::Bad(format!("its header is longer than {HEAD_MAX} octets")),
                (false, true) => Step::Bad("the answer ends within its header".to_owned()),
                (false, false) => Step::More,
            };
        };
        let Some(status) = status(head) else { return Step::Bad("the answer is not HTTP".to_owned()) };
        if !self.request.status.iter().any(|good| good.contains(&status)) {
            return Step::Bad(format!("status {status}"));
        }
        let Some(wanted) = &self.request.body else { return Step::Good };
        let length = content_length(head).unwrap_or(usize::MAX);
        let looked_at = &body[..body.len().min(BODY_MAX).min(length)];
        if contains(looked_at, wanted.as_bytes()) {
            Step::Good
        } else if whole || body.len() >= BODY_MAX.min(length) {
            Step::Bad(format!("status {status}, but its body does not contain {wanted:?}"))
        } else {
            Step::More
        }
    }
}

impl Dialogue for Http<'_> {
    fn begin(&mut self) -> Vec<u8> {
        let Request { path, host, .. } = self.request;
        format!(
            "GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: foreshift\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        )
        .into_bytes()
    }

    fn received(&mut self, octets: &[u8]) -> Step {
        // More than both bounds is never looked at.
        let room = (HEAD_MAX + BODY_MAX + 4).saturating_sub(self.received.len());
        self.received.extend_from_slice(&octets[..octets.len().min(room)]);
        self.judged(room == 0)
    }

    fn ended(&mut self) -> Step {
        self.judged(true)
    }
}

/// Header and body, once the empty line has come.
fn split(answer: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = answer.windows(4).take(HEAD_MAX).position(|four| four == b"\r\n\r\n")?;
    Some((&answer[..end], &answer[end + 4..]))
}

/// The status line's code (RFC 9112 §4).
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|octet| *octet == b'\r').next()?;
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [minor, b' ', code @ ..] = rest else { return None };
    let (code, after) = code.split_at_checked(3)?;
    let separated = after.first().is_none_or(|octet| *octet == b' ');
    let digits = minor.is_ascii_digit() && code.iter().all(u8::is_ascii_digit) && separated;
    digits.then(|| code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0')))
}

/// The Content-Length field, if it is there and a number (RFC 9110 §8.6).
fn content_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next()?.1.trim().parse().ok()
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || text.windows(wanted.len()).any(|part| part == wanted)
}
