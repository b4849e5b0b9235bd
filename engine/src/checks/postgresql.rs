//! PostgreSQL's frontend/backend protocol 3.0: a StartupMessage, and either the server's word that it takes connections, or, for a
//! role that needs no password, the answer to `SELECT 1`.
//!
//! Without a role it is as pg_isready has it: a server that asks for a password, or refuses this role or database, is there. One that
//! is starting up, shutting down or recovering (57P03) is not, and here neither is one that has no connection left (53300) or
//! anything else to say.

use super::{Dialogue, Step};

/// The longest message that is looked at, octets.
const MESSAGE_MAX: usize = 64 * 1024;
/// Protocol 3.0.
const VERSION: u32 = 3 << 16;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The role that a query is made as, without a password; `None`: only whether connections are taken is asked.
    pub user: Option<String>,
    /// The database; the role's own if absent.
    pub database: Option<String>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The StartupMessage is sent.
    Starting,
    /// Authenticated; the server says when it is ready.
    Authenticated,
    /// `SELECT 1` is sent; whether its row has come.
    Asked { row: bool },
}

/// One attempt.
#[derive(Debug)]
pub struct PostgreSql<'a> {
    request: &'a Request,
    state: State,
    received: Vec<u8>,
}

impl<'a> PostgreSql<'a> {
    pub fn new(request: &'a Request) -> PostgreSql<'a> {
        PostgreSql { request, state: State::Starting, received: Vec::new() }
    }

    fn message(&mut self, kind: u8, body: &[u8]) -> Step {
        match (kind, self.state) {
            (b'E', state) => self.error(state, body),
            // NoticeResponse, ParameterStatus.
            (b'N' | b'S', _) => Step::More,
            (b'R', State::Starting) => self.authentication(body),
            // BackendKeyData; NegotiateProtocolVersion may come before authentication.
            (b'K', State::Authenticated) | (b'v', State::Starting) => Step::More,
            // ReadyForQuery.
            (b'Z', State::Authenticated) => {
                self.state = State::Asked { row: false };
                Step::Send(simple_query("SELECT 1"))
            }
            // RowDescription.
            (b'T', State::Asked { row: false }) => Step::More,
            // DataRow: one column of one octet.
            (b'D', State::Asked { row: false }) if body == [0, 1, 0, 0, 0, 1, b'1'] => {
                self.state = State::Asked { row: true };
                Step::More
            }
            (b'D', State::Asked { .. }) => Step::Bad("SELECT 1 gives something else than 1".to_owned()),
            // CommandComplete.
            (b'C', State::Asked { row: true }) => Step::Good,
            _ => Step::Bad(format!("an unexpected message {:?} of the server", char::from(kind))),
        }
    }

    fn authentication(&mut self, body: &[u8]) -> Step {
        let Some((&code, _)) = body.split_first_chunk::<4>() else {
            return Step::Bad("a malformed request for authentication".to_owned());
        };
        match (u32::from_be_bytes(code), &self.request.user) {
            (_, None) => Step::Good,
            (0, Some(_)) => {
                self.state = State::Authenticated;
                Step::More
            }
            (_, Some(user)) => Step::Bad(format!(
                "the server wants a password of {user}: let it in by trust (pg_hba.conf), or ask without a user"
            )),
        }
    }

    /// An ErrorResponse: fields of a type octet and a string, ended by a zero octet.
    fn error(&self, state: State, body: &[u8]) -> Step {
        let fields = || body.split(|octet| *octet == 0).filter_map(|field| field.split_first());
        let field = |wanted: u8| {
            let found = fields().find(|(kind, _)| **kind == wanted);
            found.map_or(String::new(), |(_, text)| String::from_utf8_lossy(text).into_owned())
        };
        let (code, message) = (field(b'C'), field(b'M'));
        // Class 28: invalid authorization; 3D000: no such database.
        let refuses_us = code.starts_with("28") || code == "3D000";
        match state {
            State::Starting if self.request.user.is_none() && refuses_us => Step::Good,
            _ => Step::Bad(format!("{code}: {message}")),
        }
    }
}

impl Dialogue for PostgreSql<'_> {
    fn begin(&mut self) -> Vec<u8> {
        let mut body = VERSION.to_be_bytes().to_vec();
        let user = self.request.user.as_deref().unwrap_or("foreshift");
        let database = self.request.database.as_deref().map(|database| ("database", database));
        let parameters = [("user", user), ("application_name", "foreshift")];
        for (name, value) in parameters.into_iter().chain(database) {
            for text in [name, value] {
                body.extend_from_slice(text.as_bytes());
                body.push(0);
            }
        }
        body.push(0);
        with_length(&body)
    }

    fn received(&mut self, octets: &[u8]) -> Step {
        self.received.extend_from_slice(octets);
        let received = std::mem::take(&mut self.received);
        let mut rest = &received[..];
        while let Some((&[kind, l3, l2, l1, l0], after)) = rest.split_first_chunk::<5>() {
            let length = u32::from_be_bytes([l3, l2, l1, l0]) as usize;
            if !(4..=MESSAGE_MAX).contains(&length) {
                return Step::Bad("the answer is not PostgreSQL's".to_owned());
            }
            let Some((body, next)) = after.split_at_checked(length - 4) else { break };
            rest = next;
            match self.message(kind, body) {
                Step::More => {}
                step => {
                    self.received = rest.to_vec();
                    return step;
                }
            }
        }
        self.received = rest.to_vec();
        Step::More
    }

    fn ended(&mut self) -> Step {
        Step::Bad("the server closed the connection".to_owned())
    }

    /// Terminate.
    fn farewell(&self) -> Option<Vec<u8>> {
        Some([&b"X"[..], &4_u32.to_be_bytes()].concat())
    }
}

fn simple_query(text: &str) -> Vec<u8> {
    [&b"Q"[..], &with_length(&[text.as_bytes(), &[0]].concat())].concat()
}

/// A body behind its length, which counts itself.
fn with_length(body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 4).to_be_bytes();
    [&length[..], body].concat()
}
