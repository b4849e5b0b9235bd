//! One entry for fuzzers.

use super::filter::Filter;
use super::headers::{Header, View};
use crate::id::TunnelId;

/// Takes `data` as an expression, and as a packet behind its first zero byte: compiles the one and runs it over the
/// other. Must return, whatever the bytes.
pub fn fuzz_filter(data: &[u8]) {
    let (text, packet) = match data.iter().position(|byte| *byte == 0) {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, data),
    };
    let text = String::from_utf8_lossy(text);
    let known = |name: &str| name.parse().map(TunnelId).map_err(|_| "no such tunnel".to_owned());
    let filter = match Filter::compile(&text, known) {
        Ok(filter) => filter,
        Err(error) => {
            let _ = error.to_string();
            Filter::default()
        }
    };
    let _ = Header::of(packet);
    for view in [View::frame(packet), View::ip(packet)] {
        let (partly, wholly) = (filter.evaluate(&view), filter.matches(&view));
        assert!(partly.is_none_or(|partly| partly == wholly), "more was seen, and the verdict changed");
    }
}
