//! Application checks, as the engine's host makes them: a connection over the kernel's own stack, from an address or an
//! interface that the operator has given the way of the traffic, and the dialogue of a protocol over it. Each check is a task
//! of its own; what comes of an attempt goes to the control loop, which never waits for one.

mod connect;
pub mod http;
pub mod postgresql;
#[cfg(test)]
mod tests;

pub use connect::Origin;

use control::checks::CheckConfig;
use control::io::Input;
use dpdk::Clock;
use http::Http;
use postgresql::PostgreSql;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// What is asked of whom, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckPlan {
    /// What the controller knows of it.
    pub control: CheckConfig,
    /// The application.
    pub address: SocketAddr,
    /// How it is asked.
    pub kind: Kind,
    /// Where the connection comes from.
    pub origin: Origin,
    /// The group of tunnels behind which it is, if it belongs to one.
    pub group: Option<String>,
}

/// The protocol of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// That a connection is made.
    Tcp,
    /// A GET.
    Http(http::Request),
    /// The server takes connections, or answers a query.
    PostgreSql(postgresql::Request),
}

impl Kind {
    /// As in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Kind::Tcp => "tcp",
            Kind::Http(_) => "http",
            Kind::PostgreSql(_) => "postgresql",
        }
    }
}

/// What a dialogue makes of what has come so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet.
    More,
    /// This is to be said.
    Send(Vec<u8>),
    /// The application answers as it should.
    Good,
    /// It does not: why.
    Bad(String),
}

/// One attempt's protocol, without its connection.
pub trait Dialogue {
    /// What is said first.
    fn begin(&mut self) -> Vec<u8>;
    /// Octets have come. [`Step::Send`] is answered by calling it again with none.
    fn received(&mut self, octets: &[u8]) -> Step;
    /// The other end has closed the connection.
    fn ended(&mut self) -> Step;
    /// What is said before the connection is closed.
    fn farewell(&self) -> Option<Vec<u8>> {
        None
    }
}

/// The checks' tasks; they end with it.
#[derive(Debug)]
pub struct Checks {
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Begins them all. Call inside a Tokio runtime.
pub fn start(plans: &[CheckPlan], clock: Clock, results: &mpsc::Sender<Input>) -> Checks {
    let task =
        |(check, plan): (usize, &CheckPlan)| tokio::spawn(run(check, plan.clone(), clock, results.clone()));
    Checks { tasks: plans.iter().enumerate().map(task).collect() }
}

async fn run(check: usize, plan: CheckPlan, clock: Clock, results: mpsc::Sender<Input>) {
    let duration = |nanos: dataplane::id::Nanos| Duration::from_nanos(nanos.0);
    let mut due = tokio::time::interval(duration(plan.control.interval));
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let began = clock.now();
        let outcome = within(duration(plan.control.timeout), &plan).await;
        if results.send(Input::Check { check, began, outcome }).await.is_err() {
            return;
        }
    }
}

/// One attempt, and no longer than it may take.
async fn within(limit: Duration, plan: &CheckPlan) -> Result<(), String> {
    let attempt = tokio::time::timeout(limit, attempt(plan)).await;
    attempt.unwrap_or_else(|_| Err(format!("no answer within {} ms", limit.as_millis())))
}

async fn attempt(plan: &CheckPlan) -> Result<(), String> {
    let stream = connect::connect(&plan.origin, plan.address).await?;
    match &plan.kind {
        Kind::Tcp => Ok(()),
        Kind::Http(request) => converse(stream, &mut Http::new(request)).await,
        Kind::PostgreSql(request) => converse(stream, &mut PostgreSql::new(request)).await,
    }
}

async fn converse(mut stream: TcpStream, dialogue: &mut (impl Dialogue + Send)) -> Result<(), String> {
    let told = |error: std::io::Error| connect::told(&error);
    stream.write_all(&dialogue.begin()).await.map_err(told)?;
    let mut buffer = [0; 4096];
    let mut step = Step::More;
    let outcome = loop {
        step = match step {
            Step::More => match stream.read(&mut buffer).await.map_err(told)? {
                0 => dialogue.ended(),
                length => dialogue.received(&buffer[..length]),
            },
            Step::Send(octets) => {
                stream.write_all(&octets).await.map_err(told)?;
                dialogue.received(&[])
            }
            Step::Good => break Ok(()),
            Step::Bad(reason) => break Err(reason),
        };
    };
    if let Some(farewell) = dialogue.farewell() {
        // The other end may have gone; what it said counts.
        let _ = stream.write_all(&farewell).await;
    }
    outcome
}
