//! What wrapping a packet for a tunnel takes on this machine, measured at start: what adaptive groups weigh protocols by.

use crate::plan::{EspPlan, Plan};
use aws_lc_rs::rand;
use control::config::ControllerConfig;
use dataplane::context::Version;
use dataplane::frame::Frame;
use dataplane::id::{Spi, TunnelId};
use dataplane::packet::Packet as _;
use dataplane::sa::{AeadProvider, Limits, OutboundSa, SaKey};
use dataplane::snapshot::{Encapsulation, Tunnel};
use dataplane::tunnel::template::Template;
use dataplane::wire::{Protocol, TrafficClass};
use dpdk::Clock;
use std::collections::BTreeMap;

/// Packets in a round, and rounds; the quickest counts, as whatever else the machine does only adds.
const PACKETS: usize = 64;
const ROUNDS: usize = 16;
/// Bytes of each: what most of the volume is in. It fits every tunnel.
const LENGTH: usize = 1280;

/// Enters what is measured into the configuration of its adaptive groups.
pub fn measure(config: &mut ControllerConfig, plan: &Plan, provider: &dyn AeadProvider, clock: &Clock) {
    let mut known = BTreeMap::new();
    let groups = config.groups.iter_mut().filter_map(|group| group.adaptive.as_mut());
    for adaptive in groups.flat_map(|adaptive| &mut adaptive.tunnels) {
        let like = adaptive.parallel_to.unwrap_or(adaptive.tunnel);
        let cycles = *known.entry(like).or_insert_with(|| of(plan, like, provider, clock).unwrap_or(0.0));
        adaptive.cycles_per_packet = cycles;
    }
    for (tunnel, cycles) in known {
        let name = &plan.tunnels[tunnel.index()].name;
        tracing::info!(tunnel = name, cycles = cycles as u64, "wrapping a packet of {LENGTH} bytes");
    }
}

/// Cycles of the time stamp counter; `None` where it cannot be told.
fn of(plan: &Plan, id: TunnelId, provider: &dyn AeadProvider, clock: &Clock) -> Option<f64> {
    let tunnel: &Tunnel = &plan.forwarding.tunnels[id.index()];
    let template = Template::new(tunnel)?;
    let mut sa = match &plan.tunnels[id.index()].esp {
        Some(esp) => Some(throwaway(esp, provider)?),
        None => None,
    };
    let mut inner = [0; LENGTH];
    inner[0] = 0x45;
    let mut least = u64::MAX;
    for _ in 0..ROUNDS {
        let mut frames: Vec<Frame> = (0..PACKETS).map(|_| Frame::new(&inner)).collect();
        let begin = clock.cycles();
        for frame in &mut frames {
            wrap(frame, &template, tunnel.encapsulation, sa.as_mut())?;
        }
        least = least.min(clock.cycles().saturating_sub(begin));
    }
    Some(least as f64 / PACKETS as f64)
}

fn wrap(
    frame: &mut Frame,
    template: &Template,
    encapsulation: Encapsulation,
    sa: Option<&mut OutboundSa>,
) -> Option<()> {
    let (version, class) = (Version::V4, TrafficClass::default());
    match (sa, encapsulation) {
        (Some(sa), _) => sa.seal_behind(frame, Protocol::IPV4.0, template.length()).ok()?,
        (None, _) => frame.prepend(template.length()).map(|_| ())?,
    }
    match encapsulation {
        Encapsulation::Esp => template.write(frame.data_mut(), version, class, None, |_| 0),
        Encapsulation::Gre { sequence, .. } => {
            template.write(frame.data_mut(), version, class, sequence.then_some(1), |_| 0)
        }
        _ => template.write_spread(frame.data_mut(), version, class, 0),
    }
}

/// An SA under a key that nobody else has, for packets that nobody sends.
fn throwaway(esp: &EspPlan, provider: &dyn AeadProvider) -> Option<OutboundSa> {
    let mut keymat = vec![0; esp.algorithm.keymat_length()];
    rand::fill(&mut keymat).ok()?;
    let key = SaKey::new(provider, esp.algorithm, &keymat).ok()?;
    OutboundSa::new(Spi(256), key, Limits { soft: u64::MAX / 2, hard: u64::MAX }, true).ok()
}
