//! `foreshift routes`: the live routes of the running engine.

use super::Engine;
use super::table::Table;
use crate::api::Request;
use crate::api::routes::{RouteCount, RouteEntry, RouteRequest, RoutesWanted};
use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

/// Routes that one answer lists unless more are asked for.
const LIMIT: usize = 1000;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add the routes of a file, or change those that are there
    Load {
        /// One route a line: PREFIX via ADDRESS, PREFIX group NAME or PREFIX blackhole
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        engine: Engine,
    },
    /// Add or change one route
    Add {
        /// PREFIX via ADDRESS, PREFIX group NAME or PREFIX blackhole
        #[arg(value_name = "ROUTE", required = true, num_args = 2..)]
        route: Vec<String>,
        #[command(flatten)]
        engine: Engine,
    },
    /// Withdraw one route
    Del {
        /// Its prefix
        #[arg(value_name = "PREFIX")]
        prefix: String,
        #[command(flatten)]
        engine: Engine,
    },
    /// List routes
    Show {
        /// Only those inside a prefix, or the one that an address takes
        #[arg(value_name = "PREFIX|ADDRESS", value_parser = wanted)]
        which: Option<Which>,
        /// The most to list
        #[arg(long, value_name = "N", default_value_t = LIMIT)]
        limit: usize,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        engine: Engine,
    },
    /// Count routes, next hops and memory
    Count {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        engine: Engine,
    },
}

#[derive(Clone, Copy, Debug)]
enum Which {
    Within(IpNet),
    Of(IpAddr),
}

fn wanted(text: &str) -> Result<Which, String> {
    let address = text.parse().map(Which::Of).ok();
    let which = address.or_else(|| text.parse().map(Which::Within).ok());
    which.ok_or_else(|| "neither a prefix such as 198.51.100.0/24 nor an address".to_owned())
}

/// Asks and prints.
pub fn run(arguments: &Arguments) -> Result<()> {
    let text = match &arguments.action {
        Action::Load { file, engine } => {
            let path = std::path::absolute(file).with_context(|| file.display().to_string())?;
            ask::<String>(engine, RouteRequest::Load { path })? + "\n"
        }
        Action::Add { route, engine } => {
            ask::<String>(engine, RouteRequest::Add { line: route.join(" ") })? + "\n"
        }
        Action::Del { prefix, engine } => {
            ask::<String>(engine, RouteRequest::Del { prefix: prefix.clone() })? + "\n"
        }
        Action::Show { which, limit, json, engine } => {
            let (within, of) = match *which {
                Some(Which::Within(prefix)) => (Some(prefix), None),
                Some(Which::Of(address)) => (None, Some(address)),
                None => (None, None),
            };
            let wanted = RoutesWanted { within, of, limit: *limit };
            let found: Vec<RouteEntry> = ask(engine, RouteRequest::Show(wanted))?;
            if *json { serde_json::to_string_pretty(&found)? + "\n" } else { routes(&found, *limit) }
        }
        Action::Count { json, engine } => {
            let count: RouteCount = ask(engine, RouteRequest::Count)?;
            if *json { serde_json::to_string_pretty(&count)? + "\n" } else { self::count(&count) }
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // `| head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn ask<T: DeserializeOwned>(engine: &Engine, request: RouteRequest) -> Result<T> {
    engine.ask(&Request::Routes { request })
}

fn routes(found: &[RouteEntry], limit: usize) -> String {
    let mut table = Table::new(&["PREFIX", "TARGET"]);
    for route in found {
        table.row([route.prefix.to_string(), route.target.clone()]);
    }
    let more =
        if found.len() == limit { format!("these are {limit}; --limit for more\n") } else { String::new() };
    table.render("no routes") + &more
}

fn count(count: &RouteCount) -> String {
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let mut text = format!(
        "routes     {} IPv4, {} IPv6\nnext hops  {}\npending    {}\nmemory     {:.1} MiB of at most {:.0}\n",
        count.ipv4,
        count.ipv6,
        count.next_hops,
        count.pending,
        mib(count.bytes),
        mib(count.bytes_max)
    );
    if let Some(error) = &count.last_error {
        text += &format!("refused    {}, the last: {error}\n", count.refused);
    }
    text
}
