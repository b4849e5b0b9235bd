//! A new process of an engine takes over from the one that runs (`foreshift run --take-over`): the shell's part of
//! [`control::handover`], which has the order and the reasons.
//!
//! Beside the API socket each engine listens at another one (`….handover`, mode 0600: keys go over it). What both processes say
//! there is [`mod@line`]; what goes over is [`state`]: the controller's state, SAs with their keys and counters, sessions with
//! their NAT bindings, neighbours, buckets, BFD sessions. The old process's part is [`give`], the new one's [`take`].
//!
//! A lock beside the socket says which process is the engine. The new one gets it when the old one is gone, and with it
//! everything that only one process can have: addresses, stores, the state folders of static SAs.

mod give;
mod instance;
mod line;
mod listen;
pub mod notify;
mod resume;
mod state;
mod take;

pub use instance::Instance;
pub use listen::{Successor, Successors};
pub use resume::Resumed;
pub use take::{Before, Offer, ask};

use crate::plan::Plan;
use anyhow::{Error, Result};
use control::handover::{Candidate, Ports, VERSION};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

/// Where a process is asked to give.
fn socket(plan: &Plan) -> PathBuf {
    beside_the_api(plan, "handover")
}

fn beside_the_api(plan: &Plan, what: &str) -> PathBuf {
    let mut path = plan.api_socket.clone().into_os_string();
    path.push(".");
    path.push(what);
    path.into()
}

/// What a process of this plan is to one before or behind it.
fn candidate(plan: &Plan) -> Candidate {
    Candidate {
        version: VERSION,
        engine: plan.name.clone(),
        site: plan.site.clone(),
        workers: plan.workers.len() as u16,
        ports: ports(plan),
    }
}

/// AF_PACKET sockets may be open twice on one interface, and devices of memory alone have nothing to share.
fn ports(plan: &Plan) -> Ports {
    let shared = |device: &str| device.starts_with("net_af_packet") || device.starts_with("net_null");
    match plan.ports.iter().all(|port| shared(&port.config.device)) {
        true => Ports::Shared,
        false => Ports::Exclusive,
    }
}

/// See [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    if let Ok(line::Frame::Word(word)) = line::decode(data) {
        let said = line::word(&word).expect("a word can be said");
        let again = line::decode(&said[4..]).expect("and read");
        assert!(matches!(again, line::Frame::Word(read) if read == word));
    }
}

/// The process before this one has died while it gave: this one begins again as an ordinary start, with nothing of what it
/// was given. It comes back only if it cannot, and says why.
pub fn start_anew(plan: &Plan) -> Error {
    let again = || -> Result<Error> {
        drop(Instance::follow(plan)?);
        tracing::warn!("the process before this one has died: an ordinary start");
        let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--take-over");
        Ok(Command::new(std::env::current_exe()?).args(arguments).exec().into())
    };
    let error = again().unwrap_or_else(|error| error);
    error.context("the process before this one has died, and this one cannot start anew")
}
