//! How the peers are, by their own account: what troubles every engine at once is no one's failure.

use dataplane::id::Nanos;
use predictor::{Vitals, from_values};
use std::collections::BTreeMap;

/// What a peer said counts this long.
const FRESH: Nanos = Nanos::from_millis(1000);
/// No metric is further from its normal than this: a peer's mistake must not drown the others.
const FURTHEST: f32 = 100.0;

/// The last word of every peer.
#[derive(Debug, Default)]
pub struct PeerVitals {
    by_peer: BTreeMap<String, (Nanos, Vitals)>,
}

impl PeerVitals {
    /// A peer, of whatever version, said so.
    pub fn heard(&mut self, peer: String, z: &[Option<f32>], now: Nanos) {
        let known = |z: f32| if z.is_finite() { z.clamp(-FURTHEST, FURTHEST) } else { f32::NAN };
        self.by_peer.insert(peer, (now, from_values(z).map(known)));
    }

    /// A peer is no longer there.
    pub fn gone(&mut self, peer: &str) {
        self.by_peer.remove(peer);
    }

    /// The mean of those that have spoken within a second, metric by metric; `None` if nobody has.
    pub fn mean(&self, now: Nanos) -> Option<Vitals> {
        let fresh = || self.by_peer.values().filter(|(at, _)| now.since(*at) <= FRESH);
        fresh().next()?;
        Some(std::array::from_fn(|metric| {
            let known = || fresh().map(|(_, z)| z[metric]).filter(|z| z.is_finite());
            known().sum::<f32>() / known().count() as f32
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use predictor::N_METRICS;

    #[test]
    fn only_peers_that_speak_and_make_sense_count() {
        let mut vitals = PeerVitals::default();
        let (t0, later) = (Nanos::from_millis(5000), Nanos::from_millis(5900));
        assert_eq!(vitals.mean(t0), None);
        let mut odd = vec![Some(2.0); N_METRICS];
        (odd[0], odd[1]) = (None, Some(f32::INFINITY));
        vitals.heard("a2".into(), &odd, t0);
        vitals.heard("b1".into(), &[Some(4.0); N_METRICS], later);
        vitals.heard("b2".into(), &[Some(9.0); 3], later);
        let mean = vitals.mean(later).unwrap();
        assert_eq!((mean[0], mean[1], mean[2], mean[3]), (6.5, 6.5, 5.0, 3.0));
        assert_eq!(vitals.mean(Nanos::from_millis(6500)).unwrap()[2..4], [6.5, 4.0], "a2 has fallen silent");
        vitals.gone("b1");
        vitals.gone("b2");
        assert_eq!(vitals.mean(Nanos::from_millis(6500)), None);
    }
}
