//! A real etcd on loopback, for one test: free ports, a folder of its own, ended by its process id.

use super::Folder;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Whether there is an etcd to test with. scripts/setup installs it; where it is missing all the same, it is installed
/// now, and only where that fails the tests are skipped.
pub fn available() -> bool {
    let there = || Command::new("etcd").arg("--version").output().is_ok_and(|done| done.status.success());
    if there() {
        return true;
    }
    let apt = ["-q", "install", "-y", "--no-install-recommends", "etcd-server"];
    let installed = Command::new("apt-get").args(apt).env("RUNLEVEL", "1").status();
    if installed.is_ok_and(|status| status.success()) && there() {
        return true;
    }
    eprintln!(
        "\n*** SKIPPED: THERE IS NO etcd, AND apt-get CANNOT INSTALL etcd-server: ITS STORE IS NOT TESTED ***\n"
    );
    false
}

/// The PEM files of a server that speaks TLS only, to clients with a certificate.
pub struct ServerTls {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

pub struct Server {
    folder: Folder,
    client: String,
    peer: String,
    tls: Option<ServerTls>,
    child: Option<Child>,
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a free port").port()
}

impl Server {
    pub fn start(folder: Folder, tls: Option<ServerTls>) -> Server {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let client = format!("{scheme}://127.0.0.1:{}", free_port());
        let peer = format!("http://127.0.0.1:{}", free_port());
        let mut server = Server { folder, client, peer, tls, child: None };
        server.run();
        server
    }

    pub fn endpoint(&self) -> String {
        self.client.clone()
    }

    pub fn run(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log"));
        let log = log.expect("a log");
        let mut command = Command::new("etcd");
        command.args(["--name", "t", "--data-dir"]).arg(self.folder.join("data"));
        command.args(["--listen-client-urls", &self.client, "--advertise-client-urls", &self.client]);
        command.args(["--listen-peer-urls", &self.peer, "--initial-advertise-peer-urls", &self.peer]);
        command.args(["--initial-cluster", &format!("t={}", self.peer), "--logger", "zap"]);
        // A lease is at least 1.5 elections long.
        command.args(["--heartbeat-interval", "20", "--election-timeout", "200"]);
        if let Some(tls) = &self.tls {
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(&tls.ca);
            command.arg("--cert-file").arg(&tls.cert).arg("--key-file").arg(&tls.key);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        self.child = Some(command.spawn().expect("etcd starts"));
        let address = self.client.split("//").nth(1).expect("an address").to_owned();
        let since = Instant::now();
        while TcpStream::connect(&address).is_err() {
            assert!(since.elapsed() < Duration::from_secs(20), "etcd does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn log(&self) -> String {
        let mut log = String::new();
        let file = std::fs::File::open(self.folder.join("log"));
        let _ = file.and_then(|mut file| file.read_to_string(&mut log));
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
