#![no_main]
#[path = "../../../../dataplane/tests/fuzzed/wireguard.rs"]
mod wireguard;

libfuzzer_sys::fuzz_target!(|data: &[u8]| wireguard::run(data));
