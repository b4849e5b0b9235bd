//! Platt scaling on held-out steps.

use crate::model::Calibration;

/// Fits P(failing) = σ(scale·logit + offset) by Newton's method with Platt's softened targets.
/// `None` unless both classes are present.
pub(crate) fn platt(steps: &[(f64, bool)]) -> Option<Calibration> {
    let positives = steps.iter().filter(|s| s.1).count() as f64;
    let negatives = steps.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let target = |y: bool| if y { (positives + 1.0) / (positives + 2.0) } else { 1.0 / (negatives + 2.0) };
    let (mut scale, mut offset) = (1.0f64, (positives / negatives).ln());
    for _ in 0..200 {
        let (mut g, mut h) = ([0.0f64; 2], [1e-9f64, 0.0, 1e-9]);
        for &(x, y) in steps {
            let p = 1.0 / (1.0 + (-(scale * x + offset)).exp());
            let (error, weight) = (p - target(y), (p * (1.0 - p)).max(1e-12));
            g = [g[0] + error * x, g[1] + error];
            h = [h[0] + weight * x * x, h[1] + weight * x, h[2] + weight];
        }
        let det = (h[0] * h[2] - h[1] * h[1]).max(1e-12);
        // Damped: a full Newton step can leave the basin when the classes are far apart.
        let step = [(h[2] * g[0] - h[1] * g[1]) / det, (h[0] * g[1] - h[1] * g[0]) / det];
        let damp = 1.0 / (1.0 + 2.0 * (step[0].abs() + step[1].abs()));
        scale = (scale - damp * step[0]).clamp(0.05, 20.0);
        offset = (offset - damp * step[1]).clamp(-50.0, 50.0);
        if step[0].abs() + step[1].abs() < 1e-6 {
            break;
        }
    }
    Some(Calibration { scale: scale as f32, offset: offset as f32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores that are twice too sure come back to the truth.
    #[test]
    fn recovers_a_known_distortion() {
        let mut rng = crate::rng::Rng::new(3);
        let steps: Vec<(f64, bool)> = (0..20_000)
            .map(|_| {
                let truth = f64::from(rng.unit()) * 8.0 - 6.0;
                let failing = f64::from(rng.unit()) < 1.0 / (1.0 + (-truth).exp());
                (2.0 * truth + 1.0, failing)
            })
            .collect();
        let c = platt(&steps).unwrap();
        assert!((c.scale - 0.5).abs() < 0.03 && (c.offset + 0.5).abs() < 0.08, "{c:?}");
    }
}
