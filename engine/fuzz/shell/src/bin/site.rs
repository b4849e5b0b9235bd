#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| shell::fuzz::site(data));
