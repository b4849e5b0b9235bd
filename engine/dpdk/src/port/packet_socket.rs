//! The kernel's side of AF_PACKET ports: the driver keeps its sockets to itself, so they are found among the process's
//! descriptors, by interface. A filter on them says what the kernel puts into their rings, while they stay open.
//!
//! Two processes may have such a port on one interface: each gets a copy of every frame. While one of them takes over from the
//! other, filters decide whose copy counts.

use std::fs;
use std::io;
use std::mem;
use std::os::fd::RawFd;

/// What the kernel gives to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Nothing.
    Nothing,
    /// What arrives. Not what other sockets send by this interface, of which the kernel gives copies too (packet(7),
    /// PACKET_OUTGOING).
    Arriving,
}

impl Admit {
    /// As classic BPF: what it returns is how much of a frame is taken.
    fn program(self) -> Vec<libc::sock_filter> {
        let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
        let nothing = step(libc::BPF_RET | libc::BPF_K, 0, 0, 0);
        match self {
            Admit::Nothing => vec![nothing],
            Admit::Arriving => vec![
                step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, PACKET_TYPE),
                step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, u32::from(libc::PACKET_OUTGOING)),
                nothing,
                step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
            ],
        }
    }
}

/// Where a filter reads a frame's packet type.
const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;

/// Sets the filter of every AF_PACKET socket that this process has on an interface; returns how many there are. A frame that
/// the kernel is handling at that moment may still pass by the filter before.
pub fn admit(interface: u32, what: Admit) -> io::Result<usize> {
    let sockets = sockets_on(interface)?;
    let mut program = what.program();
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    for &socket in &sockets {
        // SAFETY: the kernel copies the program, which outlives the call, from a struct of the length said.
        let rc = unsafe {
            libc::setsockopt(
                socket,
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const filter).cast(),
                size_of::<libc::sock_fprog>() as libc::socklen_t,
            )
        };
        if rc != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(sockets.len())
}

fn sockets_on(interface: u32) -> io::Result<Vec<RawFd>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        if let Some(fd) = number.filter(|&fd| bound_to(fd) == Some(interface)) {
            found.push(fd);
        }
    }
    Ok(found)
}

/// The interface that an AF_PACKET socket is bound to; `None` for every other descriptor.
fn bound_to(fd: RawFd) -> Option<u32> {
    // SAFETY: an all-zero address is one of no family.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes; a descriptor that is no socket, or closed by now, is an error.
    let rc = unsafe { libc::getsockname(fd, (&raw mut address).cast(), &mut length) };
    let is_packet = rc == 0 && i32::from(address.sll_family) == libc::AF_PACKET;
    (is_packet && address.sll_ifindex > 0).then_some(address.sll_ifindex as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packet_sockets_are_found() {
        let stream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(admit(1, Admit::Nothing).unwrap(), 0);
        drop(stream);
    }
}
