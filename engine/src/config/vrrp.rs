//! `[gateway.vrrp]`: the election for the gateway addresses, where other makers' routers stand too.

use super::section::{Read, Section};
use super::value::Whole;

/// `[gateway.vrrp]`
#[derive(Clone, Debug, PartialEq)]
pub struct Vrrp {
    /// The virtual router's number on the link.
    pub vrid: Whole<1, 255>,
    /// Higher wins. Not 255, which is for the router whose own the addresses are: ours move.
    pub priority: Whole<1, 254>,
    /// The priority while this engine is about to fail or has no way to any far site.
    pub failing_priority: Option<Whole<1, 253>>,
    /// Between two advertisements, milliseconds; whole centiseconds.
    pub interval_ms: Whole<10, 40_950>,
    /// Take the place of a router of lower priority.
    pub preempt: bool,
    /// The checksum over IPv4 covers a pseudo-header, as keepalived and FRR have it.
    pub pseudo_header: bool,
}

impl Read for Vrrp {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Vrrp> {
        let (vrid, failing_priority) = (s.required("vrid"), s.optional("failing_priority"));
        let priority: Whole<1, 254> = s.or("priority", Whole::constant::<100>());
        let interval_ms: Whole<10, 40_950> = s.or("interval_ms", Whole::constant::<1000>());
        if !interval_ms.get().is_multiple_of(10) {
            let what = format!("{} ms is no whole number of centiseconds", interval_ms.get());
            s.wrong("interval_ms", what, "write a multiple of 10: VRRP counts in centiseconds");
        }
        if failing_priority.is_some_and(|failing: Whole<1, 253>| failing.get() >= priority.get()) {
            let what = format!("is not below priority, {}", priority.get());
            s.wrong(
                "failing_priority",
                what,
                "write a lower one than that of the routers that shall step in",
            );
        }
        let (preempt, pseudo_header) = (s.or("preempt", true), s.or("pseudo_header", true));
        Some(Vrrp { vrid: vrid?, priority, failing_priority, interval_ms, preempt, pseudo_header })
    }
}
