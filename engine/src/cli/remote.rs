//! Asking the running engine.

use super::Engine;
use crate::api::Request;
use crate::api::client;
use crate::api::faults::Fault;
use crate::api::status::OperatorCommand;
use crate::config::Config;
use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use std::path::PathBuf;

impl Engine {
    /// Where it answers.
    pub fn socket(&self) -> Result<PathBuf> {
        match (&self.socket, &self.config) {
            (Some(socket), _) => Ok(socket.clone()),
            (None, Some(config)) => Ok(Config::load(config)?.api.socket),
            (None, None) => anyhow::bail!("name the engine's socket with -s, or its configuration with -c"),
        }
    }

    /// Asks it one question.
    pub fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T> {
        Ok(client::ask(&self.socket()?, request)?)
    }
}

/// Harms it, and prints what it did.
pub fn fault(engine: &Engine, fault: Fault, level: u64) -> Result<()> {
    let done: String = engine.ask(&Request::Fault { fault, level }).context("not done")?;
    println!("{done}");
    Ok(())
}

/// Changes the rate of a shaper, and prints what it did.
pub fn shape(engine: &Engine, tunnel: String, class: Option<String>, kbps: u64) -> Result<()> {
    let done: String = engine.ask(&Request::Shape { tunnel, class, kbps }).context("not done")?;
    println!("{done}");
    Ok(())
}

/// Orders it, and prints what it did.
pub fn command(engine: &Engine, command: OperatorCommand) -> Result<()> {
    let done: String = engine.ask(&Request::Command { command }).context("not done")?;
    println!("{done}");
    Ok(())
}
