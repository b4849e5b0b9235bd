//! Figures of quantile forecasts.

/// The pinball loss of a quantile at a level: its expectation is least at the true quantile.
pub fn pinball(value: f64, quantile: f64, level: f64) -> f64 {
    let error = value - quantile;
    (level * error).max((level - 1.0) * error)
}

/// Sums of a series' forecasts at one horizon, from which the figures follow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForecastSums {
    /// Forecasts judged.
    pub count: f64,
    /// Σ |value − median|.
    pub absolute: f64,
    /// Σ |value|.
    pub size: f64,
    /// Mean over the levels of Σ 2 · pinball loss.
    pub pinball: f64,
    /// Values at or below the 95 % quantile.
    pub below_95: f64,
    /// Values in the central 95 % interval.
    pub inside_95: f64,
}

impl ForecastSums {
    /// Mean absolute error of the median, in units of `scale` (MASE: Hyndman and Koehler 2006).
    pub fn mase(&self, scale: f64) -> f64 {
        self.absolute / self.count / scale
    }

    /// Weighted quantile loss: the pinball losses over the size of the values.
    pub fn wql(&self) -> f64 {
        self.pinball / self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinball_loss_weighs_both_sides_by_the_level() {
        assert_eq!(pinball(10.0, 8.0, 0.75), 1.5);
        assert_eq!(pinball(8.0, 10.0, 0.75), 0.5);
        assert_eq!(pinball(8.0, 8.0, 0.1), 0.0);
    }

    #[test]
    fn figures_follow_from_the_sums() {
        let sums =
            ForecastSums { count: 4.0, absolute: 6.0, size: 40.0, pinball: 2.0, ..ForecastSums::default() };
        assert_eq!((sums.mase(3.0), sums.wql()), (0.5, 0.05));
    }
}
