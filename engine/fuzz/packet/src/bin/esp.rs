#![no_main]
#[path = "../../../../dataplane/tests/fuzzed/esp.rs"]
mod esp;

libfuzzer_sys::fuzz_target!(|data: &[u8]| esp::run(data));
