#![no_main]
#[path = "../../../../../predictor/tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzzed::table(data);
});
