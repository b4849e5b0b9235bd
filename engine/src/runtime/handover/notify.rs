//! Tells a supervisor such as systemd which process is the engine (sd_notify(3)), where one wants to know.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// This process is the engine, and ready. Without `NOTIFY_SOCKET` nobody asks.
pub fn ready() {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let said = format!("MAINPID={}\nREADY=1\n", std::process::id());
    let told = address.and_then(|to| UnixDatagram::unbound()?.send_to_addr(said.as_bytes(), &to));
    if let Err(error) = told {
        tracing::warn!(%error, "NOTIFY_SOCKET: the supervisor is not told");
    }
}
