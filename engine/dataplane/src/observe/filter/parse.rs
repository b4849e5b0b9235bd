//! From text to a program: a recursive descent that emits postfix as it goes.

use super::{End, Filter, FilterError, MAX_OPS, MAX_TEXT, Op, Scope, Test};
use crate::id::TunnelId;
use crate::wire::Protocol;
use ipnet::IpNet;
use std::net::IpAddr;

/// Deepest nesting of parentheses and `not`.
const MAX_DEPTH: usize = 32;

/// Protocols by name (IANA "Assigned Internet Protocol Numbers").
const PROTOCOLS: [(&str, Protocol); 7] = [
    ("tcp", Protocol::TCP),
    ("udp", Protocol::UDP),
    ("icmp", Protocol::ICMP),
    ("icmp6", Protocol::ICMPV6),
    ("esp", Protocol::ESP),
    ("gre", Protocol::GRE),
    ("sctp", Protocol::SCTP),
];

/// What may stand where a test is expected.
const TESTS: &str = "host, net, port, proto, tunnel, ip, ip6, tcp, udp, icmp, icmp6, esp, gre or sctp, with src, dst, \
                     inner or outer before it";

type Resolve<'a> = &'a dyn Fn(&str) -> Result<TunnelId, String>;
type Parsed<T> = Result<T, FilterError>;

/// A word or a sign, and where it stands, characters from 0.
#[derive(Clone, Copy)]
struct Token<'a> {
    at: usize,
    word: &'a str,
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    next: usize,
    depth: usize,
    filter: Filter,
    tunnel: Resolve<'a>,
}

/// Compiles `text`.
pub fn compile(text: &str, tunnel: Resolve<'_>) -> Parsed<Filter> {
    if text.len() > MAX_TEXT {
        let problem = format!("a filter is at most {MAX_TEXT} bytes long; write a shorter one");
        return Err(FilterError { text: String::new(), at: 0, problem });
    }
    let tokens = tokens(text);
    let mut parser = Parser { text, tokens, next: 0, depth: 0, filter: Filter::default(), tunnel };
    if parser.tokens.is_empty() {
        return Ok(parser.filter);
    }
    parser.alternatives()?;
    match parser.take() {
        None => Ok(parser.filter),
        Some(token) if token.word == ")" => {
            Err(parser.error(token.at, "nothing was opened here; remove this ')'"))
        }
        Some(token) => {
            let problem = format!("\"{}\" follows a complete test; join them with and, or", token.word);
            Err(parser.error(token.at, problem))
        }
    }
}

/// Words end at blanks; `(`, `)`, `!`, `&&` and `||` stand by themselves.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut rest, mut at) = (text, 0);
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("&&") || rest.starts_with("||") {
            2
        } else if "()!".contains(first) || first.is_whitespace() {
            first.len_utf8()
        } else {
            let ends = |c: char| c.is_whitespace() || "()!&|".contains(c);
            // A lone '&' or '|' is a word of its own, which no test has.
            rest.char_indices().skip(1).find(|(_, c)| ends(*c)).map_or(rest.len(), |(end, _)| end)
        };
        let (word, behind) = rest.split_at(length);
        if !first.is_whitespace() {
            found.push(Token { at, word });
        }
        at += word.chars().count();
        rest = behind;
    }
    found
}

impl<'a> Parser<'a> {
    fn error(&self, at: usize, problem: impl Into<String>) -> FilterError {
        FilterError { text: self.text.to_owned(), at, problem: problem.into() }
    }

    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.next).map(|token| token.word)
    }

    fn take(&mut self) -> Option<Token<'a>> {
        let token = self.tokens.get(self.next).copied();
        self.next += usize::from(token.is_some());
        token
    }

    /// Takes the next word, which the expression needs.
    fn need(&mut self, what: &str) -> Parsed<Token<'a>> {
        let end = self.text.trim_end().chars().count();
        self.take().ok_or_else(|| self.error(end, format!("it ends too early; write {what}")))
    }

    /// Takes the next word if it is one of `words`.
    fn accept(&mut self, words: &[&str]) -> bool {
        let found = self.peek().is_some_and(|word| words.contains(&word));
        self.next += usize::from(found);
        found
    }

    fn emit(&mut self, at: usize, op: Op) -> Parsed<()> {
        let problem = format!("more than {MAX_OPS} tests and connectives; write a shorter filter");
        self.filter.ops.try_push(op).map_err(|_| self.error(at, problem))
    }

    fn alternatives(&mut self) -> Parsed<()> {
        self.conjunction()?;
        while self.accept(&["or", "||"]) {
            let at = self.tokens[self.next - 1].at;
            self.conjunction()?;
            self.emit(at, Op::Or)?;
        }
        Ok(())
    }

    fn conjunction(&mut self) -> Parsed<()> {
        self.negation()?;
        while self.accept(&["and", "&&"]) {
            let at = self.tokens[self.next - 1].at;
            self.negation()?;
            self.emit(at, Op::And)?;
        }
        Ok(())
    }

    fn negation(&mut self) -> Parsed<()> {
        let negated = self.accept(&["not", "!"]);
        if !negated && !self.accept(&["("]) {
            return self.test();
        }
        let at = self.tokens[self.next - 1].at;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(at, format!("nested more than {MAX_DEPTH} deep; write it flatter")));
        }
        if negated {
            self.negation()?;
            self.emit(at, Op::Not)?;
        } else {
            self.alternatives()?;
            if !self.accept(&[")"]) {
                return Err(self.error(at, "this '(' is never closed; add a ')'"));
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn test(&mut self) -> Parsed<()> {
        let first = self.tokens.get(self.next).map_or(0, |token| token.at);
        let scope = match self.peek() {
            Some("inner") => Some(Scope::Inner),
            Some("outer") => Some(Scope::Outer),
            _ => None,
        };
        self.next += usize::from(scope.is_some());
        let end = match self.peek() {
            Some("src") => Some(End::Src),
            Some("dst") => Some(End::Dst),
            _ => None,
        };
        self.next += usize::from(end.is_some());
        let token = self.need(&format!("a test: {TESTS}"))?;
        let test = self.primitive(token, end)?;
        if scope.is_some() && matches!(test, Test::Tunnel(_)) {
            let problem = "a tunnel is neither inner nor outer; write tunnel NAME alone";
            return Err(self.error(first, problem));
        }
        self.emit(token.at, Op::Test(scope.unwrap_or(Scope::Either), test))
    }

    fn primitive(&mut self, token: Token<'a>, end: Option<End>) -> Parsed<Test> {
        let ends = end.unwrap_or(End::Either);
        let endless = match token.word {
            "host" => {
                let value = self.need("an address, as in host 10.1.0.10")?;
                return self.host(value, ends);
            }
            "net" => {
                let value = self.need("a prefix, as in net 10.1.0.0/16")?;
                return self.net(value, ends);
            }
            "port" => {
                let value = self.need("a port or a range, as in port 443 or port 5000-5009")?;
                return self.port(value, ends);
            }
            "proto" => {
                let value = self.need("a protocol, as in proto tcp or proto 47")?;
                self.protocol(value)?
            }
            "ip" => Test::V4,
            "ip6" => Test::V6,
            "tunnel" => {
                let value = self.need("a tunnel's name, as in tunnel a1-b1")?;
                let id = (self.tunnel)(value.word).map_err(|problem| self.error(value.at, problem))?;
                Test::Tunnel(id)
            }
            word if word.contains('/') && word.parse::<IpNet>().is_ok() => return self.net(token, ends),
            word if word.parse::<IpAddr>().is_ok() => return self.host(token, ends),
            word => match PROTOCOLS.iter().find(|(name, _)| *name == word) {
                Some(&(_, protocol)) => Test::Protocol(protocol),
                None => {
                    return Err(self.error(token.at, format!("\"{word}\" is not a test; write {TESTS}")));
                }
            },
        };
        match end {
            None => Ok(endless),
            Some(_) => {
                let problem = format!("\"{}\" has no source or destination; remove src or dst", token.word);
                Err(self.error(token.at, problem))
            }
        }
    }

    fn host(&self, value: Token<'_>, end: End) -> Parsed<Test> {
        let address: IpAddr = value.word.parse().map_err(|_| {
            let problem = format!("\"{}\" is not an address; write one as 10.1.0.10 or fd00::1", value.word);
            self.error(value.at, problem)
        })?;
        Ok(Test::Net(end, IpNet::from(address)))
    }

    fn net(&self, value: Token<'_>, end: End) -> Parsed<Test> {
        let net: IpNet = value.word.parse().map_err(|_| {
            let problem = format!("\"{}\" is not a prefix; write one as 10.1.0.0/16 or fd00::/8", value.word);
            self.error(value.at, problem)
        })?;
        if net.trunc() == net {
            return Ok(Test::Net(end, net));
        }
        let problem =
            format!("{net} has bits set beyond its length; write net {} or host {}", net.trunc(), net.addr());
        Err(self.error(value.at, problem))
    }

    fn port(&self, value: Token<'_>, end: End) -> Parsed<Test> {
        let range = match value.word.split_once('-') {
            Some((low, high)) => low.parse().ok().zip(high.parse().ok()),
            None => value.word.parse().ok().map(|port| (port, port)),
        };
        match range {
            Some((low, high)) if low <= high => Ok(Test::Port(end, low, high)),
            Some((low, high)) => {
                let problem = format!("the range is empty; write port {high}-{low}");
                Err(self.error(value.at, problem))
            }
            None => {
                let problem =
                    format!("\"{}\" is not a port; write 0 to 65535, or a range as 5000-5009", value.word);
                Err(self.error(value.at, problem))
            }
        }
    }

    fn protocol(&self, value: Token<'_>) -> Parsed<Test> {
        let named = PROTOCOLS.iter().find(|(name, _)| *name == value.word).map(|(_, protocol)| *protocol);
        let protocol = named.or_else(|| value.word.parse().ok().map(Protocol));
        protocol.map(Test::Protocol).ok_or_else(|| {
            let names: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
            let problem =
                format!("\"{}\" is not a protocol; write {} or 0 to 255", value.word, names.join(", "));
            self.error(value.at, problem)
        })
    }
}
