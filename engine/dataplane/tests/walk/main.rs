//! The packet's whole walk, packet in and packet out: engines as the shell builds them, wired by hand. etherparse makes
//! the packets and gives the second opinion on those that come out.

mod access;
mod bfd;
mod conservation;
mod differential;
mod forward;
mod handoff;
mod icmp;
mod lease;
mod mark;
mod mirror;
mod mtu;
mod neighbor;
mod observe;
mod path_mtu;
mod probe;
mod protocols;
mod reassembly;
mod shape;
mod steer;
mod support;
mod tunnel;
mod vrrp;
