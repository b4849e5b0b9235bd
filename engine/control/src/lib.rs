//! What the engine decides: a controller without clock, socket, thread or randomness of its own.
//!
//! [`Controller::step`] takes the time and one input and appends what the shell shall carry out.
//! The modules are the parts of one decision: [`health`] measures paths, `tunnels` negotiates their
//! keys, `adaptive` makes and removes them as the traffic needs, [`steering`] splits the traffic, `failure` turns predictions into alarms, [`checks`]
//! knows whether applications answer, `switchover` moves traffic and ownership stage by stage, `ha` says who owns the site and whose epoch is over.
#![forbid(unsafe_code)]

mod adaptive;
pub mod checks;
pub mod config;
mod controller;
pub mod decision;
mod failure;
mod ha;
pub mod handover;
pub mod health;
pub mod installs;
pub mod io;
pub mod message;
pub mod mirror;
mod peers;
pub mod replication;
mod rng;
pub mod shadow;
pub mod shared;
pub mod state;
pub mod status;
pub mod steering;
pub mod switchover;
mod tunnels;
pub mod vrrp;

pub use controller::{Controller, ControllerState};
