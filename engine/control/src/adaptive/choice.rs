//! Which of several tunnels to a far engine carries: what the policy allows, then what is measured.
//!
//! A funnel: of those that lose least, those with the shortest way; of them the cheapest; of them the one with the least work a byte.
//! At each stage what differs by less than measurements do counts as equal; where all is equal, the first in the configuration carries.

use crate::config::{AdaptiveTunnel, PathPolicy};
use dataplane::id::TunnelId;

/// Losses that differ by less are equal: of 50 probes in the window, one lost is 2 %.
const LOSS: f32 = 0.03;
/// So are round trips, by a share and in microseconds.
const RTT_SHARE: f32 = 0.25;
const RTT_US: f32 = 1000.0;
/// And the work a byte, by a share.
const WORK_SHARE: f64 = 0.1;

/// A tunnel and what is measured of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    pub known: AdaptiveTunnel,
    pub up: bool,
    pub loss: f32,
    pub rtt_us: f32,
    pub mtu: u16,
    /// P(its path fails); NaN if nobody says.
    pub failure: f32,
}

impl Candidate {
    /// Why the policy forbids it, if it does.
    pub fn forbidden(&self, policy: &PathPolicy) -> Option<&'static str> {
        if policy.encrypted && !self.known.encrypted {
            return Some("it does not encrypt");
        }
        if self.mtu < policy.mtu_min {
            return Some("its MTU is below the floor");
        }
        (self.known.cost > policy.cost_max).then_some("it costs too much")
    }

    fn work(&self) -> f64 {
        self.known.cycles_per_packet / f64::from(self.mtu.max(1))
    }

    /// For a person.
    pub fn describe(&self) -> String {
        format!(
            "loss {:.1} %, rtt {:.2} ms, mtu {}, cost {}, {:.0} cycles a packet, P(failure) {:.2}",
            self.loss * 100.0,
            self.rtt_us / 1000.0,
            self.mtu,
            self.known.cost,
            self.known.cycles_per_packet,
            self.failure
        )
    }
}

/// The best of those that are up and allowed, and what speaks for it and against the one that carries `now`.
pub fn best(
    candidates: &[Candidate],
    policy: &PathPolicy,
    now: TunnelId,
) -> Option<(TunnelId, &'static str)> {
    let mut left: Vec<&Candidate> =
        candidates.iter().filter(|c| c.up && c.forbidden(policy).is_none()).collect();
    let has = |left: &[&Candidate]| left.iter().any(|c| c.known.tunnel == now);
    let mut why = if has(&left) { None } else { Some("the other is up and allowed") };
    let mut narrow = |left: &mut Vec<&Candidate>, stage, keep: &dyn Fn(&Candidate) -> bool| {
        left.retain(|c| keep(c));
        if why.is_none() && !has(left) {
            why = Some(stage);
        }
    };
    let loss = least(&left, |c| c.loss);
    narrow(&mut left, "less loss", &|c| c.loss <= loss + LOSS);
    let rtt = least(&left, |c| c.rtt_us);
    narrow(&mut left, "a shorter way", &|c| c.rtt_us <= rtt * (1.0 + RTT_SHARE) + RTT_US);
    let cost = left.iter().map(|c| c.known.cost).min()?;
    narrow(&mut left, "lower cost", &|c| c.known.cost == cost);
    // Unknown work says nothing.
    if left.iter().all(|c| c.known.cycles_per_packet > 0.0) {
        let work = left.iter().map(|c| c.work()).fold(f64::INFINITY, f64::min);
        narrow(&mut left, "fewer cycles a byte", &|c| c.work() <= work * (1.0 + WORK_SHARE));
    }
    let first = left.first()?;
    Some((first.known.tunnel, why.unwrap_or("it comes first in the configuration")))
}

fn least(of: &[&Candidate], figure: impl Fn(&Candidate) -> f32) -> f32 {
    of.iter().map(|c| figure(c)).filter(|value| value.is_finite()).fold(f32::INFINITY, f32::min)
}
