//! `foreshift`: arguments → [`config::Config`] → [`plan::Plan`] → [`runtime::run`].

#![forbid(unsafe_code)]

mod api;
mod bench;
mod checks;
mod cli;
mod config;
mod crypto;
mod epochs;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod host;
mod load;
mod mirror;
mod observe;
mod peer;
mod plan;
mod routes;
mod runtime;
mod shadow;
mod site;
#[cfg(feature = "wireguard")]
mod wireguard;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main().unwrap_or_else(|error| {
        eprintln!("foreshift: {error:#}");
        ExitCode::FAILURE
    })
}
