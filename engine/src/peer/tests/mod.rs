//! Tests of the control connections, over real sockets with real certificates.

mod crypto;
mod lab;
mod links;
mod mirror;
mod refusals;
mod wireshark;
