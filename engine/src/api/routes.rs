//! Questions about routes, and changes of them. Files are read and lines are understood here, off the control loop.

use super::{Answer, ApiHandle, ApiRequest, Stopping, json};
use crate::routes::{Batch, Mistake, Targets};
use dataplane::snapshot::NextHop;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// On the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "routes", rename_all = "snake_case")]
pub enum RouteRequest {
    /// Adds the routes of a file, or changes those that are there.
    Load {
        /// The engine reads it: an absolute path.
        path: PathBuf,
    },
    /// Adds or changes one.
    Add {
        /// As in a file.
        line: String,
    },
    /// Withdraws one.
    Del {
        /// Its prefix.
        prefix: String,
    },
    /// Lists them.
    Show(RoutesWanted),
    /// Counts them.
    Count,
}

/// Which routes are wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoutesWanted {
    /// Those inside it; all without one.
    pub within: Option<IpNet>,
    /// Only the one that this address takes.
    pub of: Option<IpAddr>,
    /// The most that are listed.
    pub limit: usize,
}

/// A route as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteEntry {
    /// Destinations.
    pub prefix: IpNet,
    /// Where they lead, as in a file; `local` and `connected` for the engine's own.
    pub target: String,
}

/// How many there are, and what they take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteCount {
    /// IPv4 routes, the engine's own included.
    pub ipv4: usize,
    /// IPv6 routes.
    pub ipv6: usize,
    /// Next hops in use.
    pub next_hops: usize,
    /// Changes that wait to be applied.
    pub pending: usize,
    /// Changes that found no room since the start.
    pub refused: u64,
    /// Why the last one of them did not.
    pub last_error: Option<String>,
    /// Memory that workers read, bytes.
    pub bytes: usize,
    /// The most that it can become.
    pub bytes_max: usize,
}

impl ApiHandle {
    /// Answers a question about routes.
    pub(super) async fn routes(&self, request: RouteRequest) -> Answer {
        let done = match request {
            RouteRequest::Load { path } => self.load(path).await,
            RouteRequest::Add { line } => match self.targets().route(&line) {
                Ok((prefix, next_hop)) => self.change_route(vec![next_hop], (prefix, Some(0))).await,
                Err(mistake) => return refusal(&mistake),
            },
            RouteRequest::Del { prefix } => match self.targets().prefix(&prefix) {
                Ok(prefix) => self.withdraw(prefix).await,
                Err(mistake) => return refusal(&mistake),
            },
            RouteRequest::Show(wanted) => self.ask(|reply| ApiRequest::Routes(wanted, reply)).await.map(json),
            RouteRequest::Count => self.ask(ApiRequest::RouteCount).await.map(json),
        };
        done.unwrap_or_else(|stopping| Answer::Error(stopping.to_string()))
    }

    /// Those of the configuration in force.
    fn targets(&self) -> Arc<Targets> {
        self.targets.borrow().clone()
    }

    async fn load(&self, path: PathBuf) -> Result<Answer, Stopping> {
        let targets = self.targets();
        let read = tokio::task::spawn_blocking(move || targets.load(&path)).await;
        let batch = match read {
            Ok(Ok(batch)) => batch,
            Ok(Err(error)) => return Ok(Answer::Error(error.to_string())),
            Err(error) => return Ok(Answer::Error(format!("the file was not read: {error}"))),
        };
        let routes = batch.changes.len();
        let waiting = self.ask(|reply| ApiRequest::ChangeRoutes(batch, reply)).await?;
        Ok(json(format!("{routes} routes accepted, {waiting} changes wait")))
    }

    async fn change_route(
        &self,
        next_hops: Vec<NextHop>,
        change: (IpNet, Option<u32>),
    ) -> Result<Answer, Stopping> {
        let batch = Batch { next_hops, changes: vec![change] };
        let waiting = self.ask(|reply| ApiRequest::ChangeRoutes(batch, reply)).await?;
        Ok(json(format!("{} accepted, {waiting} changes wait", change.0)))
    }

    async fn withdraw(&self, prefix: IpNet) -> Result<Answer, Stopping> {
        let wanted = RoutesWanted { within: Some(prefix), of: None, limit: 1 };
        let found = self.ask(|reply| ApiRequest::Routes(wanted, reply)).await?;
        if found.first().is_none_or(|route| route.prefix != prefix) {
            return Ok(Answer::Error(format!("there is no route to {prefix}; see `foreshift routes show`")));
        }
        self.change_route(vec![], (prefix, None)).await
    }
}

fn refusal(mistake: &Mistake) -> Answer {
    Answer::Error(mistake.to_string())
}
