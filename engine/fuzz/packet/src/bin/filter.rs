#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane::observe::fuzz_filter(data));
