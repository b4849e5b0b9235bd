//! A TCP connection from where the operator wants it to come from.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};

/// Where a check's connections come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The source address; the kernel's choice if absent.
    pub source: Option<IpAddr>,
    /// The interface that they leave by (SO_BINDTODEVICE).
    pub device: Option<String>,
}

/// Connects, or says why not.
pub async fn connect(origin: &Origin, to: SocketAddr) -> Result<TcpStream, String> {
    let connected = async {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(device) = &origin.device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        if let Some(source) = origin.source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        socket.set_nonblocking(true)?;
        TcpSocket::from_std_stream(socket.into()).connect(to).await
    };
    connected.await.map_err(|error: io::Error| told(&error))
}

/// An error in few words.
pub fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::AddrNotAvailable => "the source address is not there".to_owned(),
        _ => error.to_string(),
    }
}
