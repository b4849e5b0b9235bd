#![no_main]
#[allow(dead_code, unused_imports)]
#[path = "../../../../dataplane/tests/walk/support/mod.rs"]
mod support;
#[path = "../../../../dataplane/tests/fuzzed/walk.rs"]
mod walk;

libfuzzer_sys::fuzz_target!(|data: &[u8]| walk::run(data));
