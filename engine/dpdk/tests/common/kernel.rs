//! Network namespaces and raw sockets: they belong to threads of the test and vanish with it.
#![allow(dead_code, reason = "each test binary uses a part")]

use super::experimental;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What the kernel says of one of our interfaces, by `ip -o link`.
pub fn kernel(interface: &str, what: &str) -> String {
    let output = Command::new("ip").args(["-o", "link", "show", interface]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let key = if what == "address" { "link/ether" } else { what };
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|&word| word == key).unwrap_or_else(|| panic!("{what} in {text}"));
    words[at + 1].to_owned()
}

pub fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Puts the calling thread, and what it starts, into a new network namespace.
pub fn unshare() {
    // SAFETY: changes the calling thread's namespace only.
    let rc = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(rc, 0, "this test needs root: {}", io::Error::last_os_error());
}

/// Moves `interface` into a namespace of its own and opens it there.
pub fn host_with(interface: &'static str) -> Host {
    let (ready, is_ready) = mpsc::channel();
    let (moved, was_moved) = mpsc::channel::<()>();
    let host = thread::spawn(move || {
        unshare();
        // SAFETY: always succeeds.
        ready.send(unsafe { libc::gettid() }).unwrap();
        was_moved.recv().unwrap();
        ip(&format!("link set {interface} up"));
        // The socket keeps the namespace when the thread is gone.
        Host::open(interface)
    });
    ip(&format!("link set {interface} netns {}", is_ready.recv().unwrap()));
    moved.send(()).unwrap();
    host.join().unwrap()
}

/// A raw socket on an interface.
pub struct Host(OwnedFd);

impl Host {
    pub fn open(interface: &str) -> Host {
        let all = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: a new descriptor, checked, that nobody else owns.
        let fd = unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, i32::from(all));
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            OwnedFd::from_raw_fd(fd)
        };
        let name = CString::new(interface).unwrap();
        // SAFETY: a zero address is valid.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = all;
        // SAFETY: the name is terminated.
        address.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) } as i32;
        let len = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: the address is as long as said.
        let rc = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
        assert_eq!(rc, 0, "{}", io::Error::last_os_error());
        Host(fd)
    }

    pub fn send(&self, bytes: &[u8]) {
        // SAFETY: the buffer is as long as said.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        assert_eq!(sent, bytes.len() as isize, "{}", io::Error::last_os_error());
    }

    /// The next frame of ours, within 5 s.
    pub fn receive(&self) -> Vec<u8> {
        self.receive_if(experimental)
    }

    /// The next frame that `wanted` accepts, within 5 s.
    pub fn receive_if(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            match self.poll() {
                Some(bytes) if wanted(&bytes) => return bytes,
                Some(_) => {}
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
        panic!("nothing arrived")
    }

    /// The next frame, if one is there.
    pub fn poll(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        // SAFETY: the buffer is as long as said.
        let n = unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        buffer.truncate(usize::try_from(n).ok()?);
        Some(buffer)
    }
}
