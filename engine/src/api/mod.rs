//! How the world talks to the running engine: JSON lines over a Unix socket for commands, `/metrics` for
//! Prometheus. Both only ask the runtime, through [`ApiHandle`]; neither knows its state.

pub mod client;
pub mod faults;
pub mod metrics;
mod metrics_server;
pub mod mirror;
pub mod routes;
pub mod server;
pub mod shadow;
pub mod site;
pub mod status;
pub mod switchover;
#[cfg(test)]
pub mod tests;

use crate::observe::ObserveRequest;
use crate::observe::stream::Observation;
use crate::plan::Plan;
use crate::routes::{Batch, Targets};
use anyhow::{Context as _, Result};
use faults::Fault;
use mirror::MirrorStatus;
use routes::{RouteCount, RouteEntry, RouteRequest, RoutesWanted};
use serde::{Deserialize, Serialize};
use site::{SiteAsk, SiteRequest};
use status::*;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// One question to the runtime, with where the answer goes. A closed sender means nobody waits any more.
#[derive(Debug)]
pub enum ApiRequest {
    /// The engine as a whole.
    Status(oneshot::Sender<Status>),
    /// By port.
    Ports(oneshot::Sender<Vec<PortStatus>>),
    /// By tunnel.
    Tunnels(oneshot::Sender<Vec<TunnelStatus>>),
    /// By worker.
    Workers(oneshot::Sender<Vec<WorkerStatus>>),
    /// Where every packet went.
    Drops(oneshot::Sender<DropsStatus>),
    /// The last decisions, oldest first.
    Decisions(oneshot::Sender<Vec<Decision>>),
    /// What engines share; `None` without a state store.
    Cluster(oneshot::Sender<Option<ClusterStatus>>),
    /// What is mirrored, and what came of it; `None` without [mirror].
    Mirror(oneshot::Sender<Option<MirrorStatus>>),
    /// Samples after a time (UNIX ms), of the last seconds.
    Telemetry(u64, oneshot::Sender<Vec<Measured>>),
    /// Changes of routes; the answer says how many wait now.
    ChangeRoutes(Batch, oneshot::Sender<usize>),
    /// Routes inside a prefix, or the one that an address takes: at most so many.
    Routes(RoutesWanted, oneshot::Sender<Vec<RouteEntry>>),
    /// How many routes there are.
    RouteCount(oneshot::Sender<RouteCount>),
    /// About the site's configuration.
    Site(SiteAsk),
    /// A person's command; the answer says what was done or why not.
    Command {
        /// What is asked.
        command: OperatorCommand,
        /// What became of it.
        reply: oneshot::Sender<Result<String, String>>,
    },
    /// A fault to be made; the answer says what was done or why not.
    Fault {
        /// Which.
        fault: Fault,
        /// How much of it.
        level: u64,
        /// What became of it.
        reply: oneshot::Sender<Result<String, String>>,
    },
    /// Another rate for a tunnel's shaper, or a class of it; the answer says what was done or why not.
    Shape {
        /// The tunnel.
        tunnel: String,
        /// One of its classes, if not the whole.
        class: Option<String>,
        /// Kilobits a second.
        kbps: u64,
        /// What became of it.
        reply: oneshot::Sender<Result<String, String>>,
    },
    /// A look at packets; the answer is what shows them, or why they are not shown.
    Observe {
        /// What is asked.
        request: ObserveRequest,
        /// What shows it.
        reply: oneshot::Sender<Result<Observation, String>>,
    },
}

/// The same on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// See [`ApiRequest::Status`].
    Status,
    /// See [`ApiRequest::Ports`].
    Ports,
    /// See [`ApiRequest::Tunnels`].
    Tunnels,
    /// See [`ApiRequest::Workers`].
    Workers,
    /// See [`ApiRequest::Drops`].
    Drops,
    /// See [`ApiRequest::Decisions`].
    Decisions,
    /// See [`ApiRequest::Cluster`].
    Cluster,
    /// See [`ApiRequest::Mirror`].
    Mirror,
    /// See [`ApiRequest::Telemetry`].
    Telemetry {
        /// Only what is newer (UNIX ms).
        since_ms: u64,
    },
    /// Route changes and questions.
    Routes {
        /// Which.
        #[serde(rename = "routes")]
        request: RouteRequest,
    },
    /// See [`ApiRequest::Site`].
    Config {
        /// What is asked.
        #[serde(rename = "config")]
        request: SiteRequest,
    },
    /// See [`ApiRequest::Command`].
    Command {
        /// What is asked.
        command: OperatorCommand,
    },
    /// See [`ApiRequest::Fault`].
    Fault {
        /// Which.
        fault: Fault,
        /// How much of it.
        level: u64,
    },
    /// See [`ApiRequest::Shape`].
    Shape {
        /// The tunnel.
        tunnel: String,
        /// One of its classes, if not the whole.
        #[serde(default)]
        class: Option<String>,
        /// Kilobits a second.
        kbps: u64,
    },
    /// See [`ApiRequest::Observe`]. After the answer the connection carries [`crate::observe::wire`] messages, and
    /// ends with them.
    Observe(ObserveRequest),
}

/// Every answer on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What was asked for.
    Ok(serde_json::Value),
    /// Why it was not done.
    Error(String),
}

/// The runtime is ending and answers no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine is stopping and answers no more")]
pub struct Stopping;

/// The asking end of the runtime's queue of questions.
#[derive(Clone, Debug)]
pub struct ApiHandle {
    requests: mpsc::Sender<ApiRequest>,
    targets: watch::Receiver<Arc<Targets>>,
}

impl ApiHandle {
    /// Asks through `requests`; the runtime answers from its other end. Routes may lead to `targets`.
    pub fn new(requests: mpsc::Sender<ApiRequest>, targets: watch::Receiver<Arc<Targets>>) -> ApiHandle {
        ApiHandle { requests, targets }
    }

    /// Asks one question.
    pub async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> ApiRequest,
    ) -> Result<T, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(question(reply)).await.map_err(|_| Stopping)?;
        answer.await.map_err(|_| Stopping)
    }

    /// Asks what the wire asks.
    pub async fn answer(&self, request: Request) -> Answer {
        let answer = match request {
            Request::Status => self.ask(ApiRequest::Status).await.map(json),
            Request::Ports => self.ask(ApiRequest::Ports).await.map(json),
            Request::Tunnels => self.ask(ApiRequest::Tunnels).await.map(json),
            Request::Workers => self.ask(ApiRequest::Workers).await.map(json),
            Request::Drops => self.ask(ApiRequest::Drops).await.map(json),
            Request::Decisions => self.ask(ApiRequest::Decisions).await.map(json),
            Request::Cluster => self.ask(ApiRequest::Cluster).await.map(json),
            Request::Mirror => self.ask(ApiRequest::Mirror).await.map(json),
            Request::Telemetry { since_ms } => {
                self.ask(|reply| ApiRequest::Telemetry(since_ms, reply)).await.map(json)
            }
            Request::Routes { request } => Ok(self.routes(request).await),
            Request::Config { request } => Ok(self.site(request).await),
            Request::Command { command } => {
                let done = self.ask(|reply| ApiRequest::Command { command, reply }).await;
                done.map(|done| done.map_or_else(Answer::Error, json))
            }
            Request::Fault { fault, level } => {
                let done = self.ask(|reply| ApiRequest::Fault { fault, level, reply }).await;
                done.map(|done| done.map_or_else(Answer::Error, json))
            }
            Request::Shape { tunnel, class, kbps } => {
                let done = self.ask(|reply| ApiRequest::Shape { tunnel, class, kbps, reply }).await;
                done.map(|done| done.map_or_else(Answer::Error, json))
            }
            // The server takes these before they come here.
            Request::Observe(_) => {
                return Answer::Error("packets are shown on a connection of their own".to_owned());
            }
        };
        answer.unwrap_or_else(|stopping| Answer::Error(stopping.to_string()))
    }
}

fn json<T: Serialize>(value: T) -> Answer {
    match serde_json::to_value(value) {
        Ok(value) => Answer::Ok(value),
        Err(error) => Answer::Error(format!("the answer cannot be written as JSON: {error}")),
    }
}

/// The socket and the metrics page, served until this is dropped.
#[derive(Debug)]
pub struct Serving {
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Serves what the plan asks for.
///
/// # Errors
/// If the socket or the metrics address cannot be had.
pub async fn start(plan: &Plan, api: ApiHandle) -> Result<Serving> {
    let server = server::Server::bind(&plan.api_socket)?;
    let mut tasks = vec![tokio::spawn(server.serve(api.clone()))];
    if let Some(address) = plan.metrics {
        let context = || format!("api.metrics: {address} cannot be listened on; choose a free address");
        let listener = TcpListener::bind(address).await.with_context(context)?;
        tasks.push(tokio::spawn(async move {
            if let Err(error) = metrics_server::serve(listener, api).await {
                tracing::error!(%error, "the metrics page has ended");
            }
        }));
    }
    Ok(Serving { tasks })
}
