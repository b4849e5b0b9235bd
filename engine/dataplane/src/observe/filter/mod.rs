//! Which packets an operator wants to see: a small expression, compiled by control into a fixed-size program that a
//! worker runs without allocating.
//!
//! ```text
//! expression = test | "not" expression | expression "and" expression | expression "or" expression | "(" expression ")"
//! test       = [inner|outer] [src|dst] host ADDRESS        also ADDRESS alone
//!            | [inner|outer] [src|dst] net PREFIX          also PREFIX alone
//!            | [inner|outer] [src|dst] port N | N-M
//!            | [inner|outer] proto NAME | N                also tcp, udp, icmp, icmp6, esp, gre, sctp alone
//!            | [inner|outer] ip | ip6
//!            | tunnel NAME
//! ```
//!
//! Without `inner` or `outer` a test holds if it holds of either header; what these are says [`View`]. `tunnel` holds of
//! packets that come out of that tunnel or go into it.

mod parse;
#[cfg(test)]
mod tests;

use super::headers::{Header, Layer, Upper, View};
use crate::id::TunnelId;
use crate::wire::Protocol;
use arrayvec::ArrayVec;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

/// Most tests and connectives of one filter; also the depth of the stack of results, a 64-bit word.
pub const MAX_OPS: usize = 64;
/// Longest expression, bytes.
pub const MAX_TEXT: usize = 1024;

/// A compiled filter: a postfix program. An empty one lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    ops: ArrayVec<Op, MAX_OPS>,
}

/// One step of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Test(Scope, Test),
    And,
    Or,
    Not,
}

/// Which header a test is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Either,
    Inner,
    Outer,
}

/// Which end of a packet a test is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Either,
    Src,
    Dst,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    /// An address in this prefix.
    Net(End, IpNet),
    /// A port in this range, both ends included.
    Port(End, u16, u16),
    Protocol(Protocol),
    V4,
    V6,
    Tunnel(TunnelId),
}

/// Why an expression is no filter: what, where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// The expression.
    pub text: String,
    /// Where in it, characters from 0.
    pub at: usize,
    /// What is wrong and what to do.
    pub problem: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "filter, column {}: {}", self.at + 1, self.problem)?;
        let line = self.text.replace(char::is_control, " ");
        write!(f, "  {line}\n  {:>width$}", "^", width = self.at + 1)
    }
}

impl std::error::Error for FilterError {}

/// Three-valued results (Kleene's logic) of at most [`MAX_OPS`] pending operands, the newest in bit 0.
#[derive(Default)]
struct Stack {
    yes: u64,
    no: u64,
}

impl Stack {
    fn push(&mut self, result: Option<bool>) {
        self.yes = self.yes << 1 | u64::from(result == Some(true));
        self.no = self.no << 1 | u64::from(result == Some(false));
    }

    fn pop(&mut self) -> (u64, u64) {
        let top = (self.yes & 1, self.no & 1);
        (self.yes, self.no) = (self.yes >> 1, self.no >> 1);
        top
    }
}

impl Filter {
    /// Compiles `text`. `tunnel` finds a tunnel by its name.
    ///
    /// # Errors
    /// With the column and a remedy.
    pub fn compile(
        text: &str,
        tunnel: impl Fn(&str) -> Result<TunnelId, String>,
    ) -> Result<Filter, FilterError> {
        parse::compile(text, &tunnel)
    }

    /// Whether the packet passes; `None` while that depends on what has not been seen.
    pub fn evaluate(&self, view: &View) -> Option<bool> {
        if self.ops.is_empty() {
            return Some(true);
        }
        let mut stack = Stack::default();
        for op in &self.ops {
            match op {
                Op::Test(scope, test) => stack.push(test.on(*scope, view)),
                Op::Not => {
                    let (yes, no) = stack.pop();
                    (stack.yes, stack.no) = (stack.yes << 1 | no, stack.no << 1 | yes);
                }
                Op::And | Op::Or => {
                    let (b, a) = (stack.pop(), stack.pop());
                    let (yes, no) =
                        if *op == Op::And { (a.0 & b.0, a.1 | b.1) } else { (a.0 | b.0, a.1 & b.1) };
                    (stack.yes, stack.no) = (stack.yes << 1 | yes, stack.no << 1 | no);
                }
            }
        }
        match stack.pop() {
            (1, _) => Some(true),
            (_, 1) => Some(false),
            _ => None,
        }
    }

    /// Whether the packet passes, when nothing more will be seen of it.
    pub fn matches(&self, view: &View) -> bool {
        self.evaluate(&view.complete()) == Some(true)
    }
}

impl Test {
    fn on(&self, scope: Scope, view: &View) -> Option<bool> {
        if let Test::Tunnel(id) = self {
            let takes_part = [view.tunnels.rx, view.tunnels.tx].contains(&Some(*id));
            return (takes_part || view.tunnels.complete).then_some(takes_part);
        }
        let layer = |layer: &Layer| match layer {
            Layer::Unknown => None,
            Layer::Absent => Some(false),
            Layer::Present(header) => Some(self.holds(header)),
        };
        match scope {
            Scope::Inner => layer(&view.inner),
            Scope::Outer => layer(&view.outer),
            Scope::Either => match (layer(&view.inner), layer(&view.outer)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
        }
    }

    fn holds(&self, header: &Header) -> bool {
        match *self {
            Test::Net(end, net) => end.any([header.src, header.dst], |ip| net.contains(&ip)),
            Test::Port(end, low, high) => match header.upper {
                Upper::Ports { src, dst } => end.any([src, dst], |port| (low..=high).contains(&port)),
                _ => false,
            },
            Test::Protocol(protocol) => header.protocol == protocol,
            Test::V4 => matches!(header.src, IpAddr::V4(_)),
            Test::V6 => matches!(header.src, IpAddr::V6(_)),
            // Answered without a header.
            Test::Tunnel(_) => false,
        }
    }
}

impl End {
    fn any<T: Copy>(self, [src, dst]: [T; 2], holds: impl Fn(T) -> bool) -> bool {
        match self {
            End::Src => holds(src),
            End::Dst => holds(dst),
            End::Either => holds(src) || holds(dst),
        }
    }
}
