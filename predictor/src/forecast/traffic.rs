//! The task `forecast`: many series of one step length.
//!
//! In: `traffic.parquet` (series, index, value) and `traffic_meta.json` (for each series
//! `test_start`, the first origin; `step_minutes`; for the figures `mase_scale`). Out: from origins
//! `test_start`, +7, +14 … the quantiles of the values 1, 3, 6 and 12 steps after the origin, which
//! is itself the last value known.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Forecaster, Quantiles};
use crate::metrics::{ForecastSums, pinball};
use crate::table::{Table, TableError};
use crate::task::{self, Figures, OnProgress, Progress, Report, TaskError, cell};

/// Steps ahead.
const HORIZONS: [usize; 4] = [1, 3, 6, 12];
/// Steps between origins.
const ORIGIN_STEP: usize = 7;
/// The levels written.
const WRITTEN: [f64; 6] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95];
const MINUTES_A_DAY: usize = 1440;

/// What the meta file says of a series.
#[derive(Clone, Debug, Deserialize)]
struct Meta {
    test_start: usize,
    step_minutes: usize,
    mase_scale: Option<f64>,
}

/// Forecasts every series in the folder and writes `series,origin,h,q10,q25,q50,q75,q90,q95`.
pub fn evaluate(data: &Path, out: &Path, progress: OnProgress) -> Result<Report, TaskError> {
    let table = Table::read(&data.join("traffic.parquet"))?;
    let values = table.numbers("value")?;
    let series = table.groups("series", "index", |_| true)?;
    let path = data.join("traffic_meta.json");
    let metas = read_meta(&path)?;
    let mut csv = String::from("series,origin,h,q10,q25,q50,q75,q90,q95\n");
    let mut judged = Judged::default();
    for (done, group) in series.iter().enumerate() {
        progress(Progress { what: &group.name, done, total: series.len() });
        let meta = metas.get(&group.name).ok_or_else(|| TaskError::Input {
            path: path.clone(),
            reason: format!("it lacks series {}, which the table has", group.name),
        })?;
        let values: Vec<f64> = group.rows.iter().map(|row| values[*row]).collect();
        let forecasts = forecast(&values, meta).map_err(|reason| TableError::Rows {
            path: table.path().to_owned(),
            unit: format!("series {}", group.name),
            reason,
        })?;
        for Forecast { origin, horizon, quantiles } in &forecasts {
            write!(csv, "{},{origin},{horizon}", group.name).expect("a String takes it");
            for level in WRITTEN {
                write!(csv, ",{}", quantiles.at(level).expect("a known level")).expect("a String takes it");
            }
            csv.push('\n');
        }
        judged.add(&values, meta, &forecasts);
    }
    progress(Progress { what: "done", done: series.len(), total: series.len() });
    let notes =
        vec![format!("{} forecasts of {} series: {}", csv.lines().count() - 1, series.len(), out.display())];
    task::write(out, &csv)?;
    Ok(Report { figures: judged.figures(), notes })
}

fn read_meta(path: &Path) -> Result<BTreeMap<String, Meta>, TaskError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| TaskError::Io { path: path.to_owned(), source })?;
    let wrong =
        |error: serde_json::Error| TaskError::Input { path: PathBuf::from(path), reason: error.to_string() };
    serde_json::from_str(&text).map_err(wrong)
}

struct Forecast {
    origin: usize,
    horizon: usize,
    quantiles: Quantiles,
}

/// The forecasts of one series whose target is within it.
fn forecast(values: &[f64], meta: &Meta) -> Result<Vec<Forecast>, String> {
    let season = MINUTES_A_DAY / meta.step_minutes.max(1);
    let mut forecaster = Forecaster::new(season, &HORIZONS).map_err(|error| error.to_string())?;
    let needed = forecaster.warm_up(HORIZONS[HORIZONS.len() - 1]);
    if meta.test_start + 1 < needed {
        return Err(format!(
            "test_start is {}, and {needed} rows are needed before the first forecast",
            meta.test_start
        ));
    }
    let mut forecasts = Vec::new();
    for (origin, value) in values.iter().enumerate() {
        forecaster.push(*value);
        if origin < meta.test_start || !(origin - meta.test_start).is_multiple_of(ORIGIN_STEP) {
            continue;
        }
        for horizon in HORIZONS.into_iter().filter(|horizon| origin + horizon < values.len()) {
            let quantiles =
                forecaster.forecast(horizon).ok_or("a forecast was not ready after its warm-up")?;
            forecasts.push(Forecast { origin, horizon, quantiles });
        }
    }
    Ok(forecasts)
}

/// The sums of each horizon and series, next to those of the value a season before.
#[derive(Default)]
struct Judged {
    series: BTreeMap<usize, Vec<(Option<f64>, ForecastSums, f64)>>,
}

impl Judged {
    fn add(&mut self, values: &[f64], meta: &Meta, forecasts: &[Forecast]) {
        let season = MINUTES_A_DAY / meta.step_minutes.max(1);
        for horizon in HORIZONS {
            let (mut sums, mut naive) = (ForecastSums::default(), 0.0);
            for forecast in forecasts.iter().filter(|forecast| forecast.horizon == horizon) {
                let target = forecast.origin + horizon;
                let value = values[target];
                if !(value.is_finite() && values[target - season].is_finite()) {
                    continue;
                }
                let quantiles = &forecast.quantiles;
                let loss = |level| pinball(value, quantiles.at(level).expect("a known level"), level);
                let (low, high) = quantiles.interval_95();
                sums.count += 1.0;
                sums.absolute += (value - quantiles.median()).abs();
                sums.size += value.abs();
                sums.pinball += 2.0 * WRITTEN.map(loss).iter().sum::<f64>() / WRITTEN.len() as f64;
                sums.below_95 += f64::from(u8::from(value <= quantiles.at(0.95).expect("a known level")));
                sums.inside_95 += f64::from(u8::from((low..=high).contains(&value)));
                naive += (value - values[target - season]).abs();
            }
            if sums.count > 0.0 {
                self.series.entry(horizon).or_default().push((meta.mase_scale, sums, naive));
            }
        }
    }

    /// Means over the series; one table, a row a horizon.
    fn figures(&self) -> Vec<Figures> {
        let rows: Vec<Vec<String>> = self
            .series
            .iter()
            .map(|(horizon, series)| {
                let mean = |figure: &dyn Fn(&(Option<f64>, ForecastSums, f64)) -> Option<f64>| {
                    let found: Option<Vec<f64>> = series.iter().map(figure).collect();
                    cell(found.map(|found| found.iter().sum::<f64>() / found.len() as f64))
                };
                vec![
                    horizon.to_string(),
                    mean(&|(scale, sums, _)| scale.map(|scale| sums.mase(scale))),
                    mean(&|(scale, sums, naive)| scale.map(|scale| naive / sums.count / scale)),
                    mean(&|(_, sums, _)| Some(sums.wql())),
                    mean(&|(_, sums, _)| Some(sums.below_95 / sums.count)),
                    mean(&|(_, sums, _)| Some(sums.inside_95 / sums.count)),
                ]
            })
            .collect();
        let header = vec!["H", "MASE", "SEASONAL NAIVE", "WQL", "BELOW Q95", "IN CENTRAL 95 %"];
        if rows.is_empty() { Vec::new() } else { vec![Figures { header, rows }] }
    }
}
