//! The model: trees, their calibration, and the file they live in.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::RampError;
use super::card::Card;
use super::data::{Run, Telemetry};
use super::features::{self, Layout, N_FEATURES, Prior, Stream};
use crate::calibrate::{Interval, VennAbers};
use crate::gbdt::Booster;

/// First word of a model's file.
const MAGIC: &str = "foreshift-ramp";
/// Rises whenever a feature changes its meaning: an old model on new features would answer nonsense.
const VERSION: u32 = 1;

/// Foresees crashes of a cluster's nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RampModel {
    pub(super) priors: BTreeMap<String, Prior>,
    /// Knows no metric's name.
    pub(super) plain: Ensemble,
    /// Knows them too: for telemetry of the same metrics, where that proved better.
    pub(super) named: Option<Named>,
    pub(super) card: Card,
}

/// Models whose log odds are averaged, and what these mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ensemble {
    pub(super) boosters: Vec<Booster>,
    pub(super) calibration: VennAbers,
}

impl Ensemble {
    fn raw(&self, row: &[f32]) -> f32 {
        self.boosters.iter().map(|booster| booster.raw(row)).sum::<f32>() / self.boosters.len() as f32
    }

    /// Adds `weight` times every feature's part in the log odds.
    fn add_parts(&self, row: &[f32], weight: f32, sums: &mut [f32]) {
        let mut parts = vec![0.0; row.len()];
        for booster in &self.boosters {
            booster.contributions(row, &mut parts);
            let weight = weight / self.boosters.len() as f32;
            sums.iter_mut().zip(&parts).for_each(|(sum, part)| *sum += weight * part);
        }
    }
}

/// An ensemble that knows the metrics by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    pub(super) metrics: Vec<String>,
    /// Its share in the log odds; the rest is the plain ensemble's. The calibration is of both together.
    pub(super) share: f32,
    pub(super) ensemble: Ensemble,
}

/// Share of the metrics told by name that telemetry must have for the names to be used.
const KNOWN: f32 = 0.8;

/// What is said of one node at one minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Row of the table.
    pub row: usize,
    /// Minute of the run.
    pub minute: i64,
    /// Place of the node in the run.
    pub node: usize,
    /// P(the node crashes within 30 minutes).
    pub p: f32,
    /// Its Venn–Abers bounds.
    pub interval: Interval,
}

/// A feature's part in a prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct Driver {
    /// The feature, in words.
    pub feature: String,
    /// Its value; NaN if unknown.
    pub value: f32,
    /// What it adds to the log odds.
    pub contribution: f32,
}

/// Why a node was said to be likely to crash, or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// What was said.
    pub prediction: Prediction,
    /// Every feature's part, strongest first.
    pub drivers: Vec<Driver>,
    /// The metrics furthest from their peers over 15 minutes, in scales, furthest first.
    pub metrics: Vec<(String, f32)>,
}

/// The features of a run's samples, in their order.
pub(super) fn run_features(
    telemetry: &Telemetry,
    run: &Run,
    layout: &Layout,
    mut each: impl FnMut(usize, &[f32]),
) -> Stream {
    let mut stream = Stream::new(run.nodes.len(), layout);
    let (mut nodes, mut values, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let mut first = 0;
    for minute in run.samples.chunk_by(|a, b| a.minute == b.minute) {
        nodes.clear();
        values.clear();
        rows.clear();
        for sample in minute {
            nodes.push(sample.node);
            telemetry.copy(sample.row, &mut values);
        }
        stream.push(minute[0].minute, &nodes, &values, &mut rows);
        for (at, features) in rows.chunks_exact(layout.width()).enumerate() {
            each(first + at, features);
        }
        first += minute.len();
    }
    stream
}

impl RampModel {
    /// What it was made from.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Predicts every sample of a run, in the run's order; a prediction depends on no later minute.
    pub fn predict(&self, telemetry: &Telemetry, run: &Run) -> Vec<Prediction> {
        let mut predictions = Vec::with_capacity(run.samples.len());
        run_features(telemetry, run, &self.layout(telemetry), |at, row| {
            let sample = run.samples[at];
            let (p, interval) = self.judge(row);
            predictions.push(Prediction {
                row: sample.row,
                minute: sample.minute,
                node: sample.node,
                p,
                interval,
            });
        });
        predictions
    }

    /// What drove the prediction of a node at a minute; `None` if it has no sample there.
    pub fn explain(&self, telemetry: &Telemetry, run: &Run, node: &str, minute: i64) -> Option<Explanation> {
        let node = run.nodes.iter().position(|name| name == node)?;
        let wanted = run.samples.iter().position(|sample| (sample.minute, sample.node) == (minute, node))?;
        let until = run.samples.partition_point(|sample| sample.minute <= minute);
        let past = Run { samples: run.samples[..until].to_vec(), ..run.clone() };
        let mut row = Vec::new();
        let layout = self.layout(telemetry);
        let stream = run_features(telemetry, &past, &layout, |at, features| {
            if at == wanted {
                row.extend_from_slice(features);
            }
        });
        let (p, interval) = self.judge(&row);
        let mut sums = vec![0.0f32; row.len()];
        let named = self.named.as_ref().filter(|_| row.len() > N_FEATURES);
        let share = named.map_or(0.0, |named| named.share);
        self.plain.add_parts(&row, 1.0 - share, &mut sums);
        if let Some(named) = named {
            named.ensemble.add_parts(&row, share, &mut sums);
        }
        let names = named.map_or(&[][..], |named| &named.metrics);
        let driver =
            |at: usize| Driver { feature: features::name(at, names), value: row[at], contribution: sums[at] };
        let mut drivers: Vec<Driver> = (0..row.len()).map(driver).collect();
        drivers.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
        let metrics = stream.leading(node);
        Some(Explanation {
            prediction: Prediction { row: run.samples[wanted].row, minute, node, p, interval },
            drivers,
            metrics: metrics
                .into_iter()
                .map(|(metric, z)| (telemetry.metrics()[metric].clone(), z))
                .collect(),
        })
    }

    /// The features of a run's samples that know no metric's name, as this model sees them: `each` gets a place in
    /// [`Run::samples`] and its row.
    pub fn features(&self, telemetry: &Telemetry, run: &Run, each: impl FnMut(usize, &[f32])) {
        let layout = Layout { named: Vec::new(), ..self.layout(telemetry) };
        run_features(telemetry, run, &layout, each);
    }

    fn layout(&self, telemetry: &Telemetry) -> Layout {
        let metrics = telemetry.metrics();
        let priors = metrics.iter().map(|metric| self.priors.get(metric).copied()).collect();
        let place = |name: &String| metrics.iter().position(|metric| metric == name);
        let named: Vec<Option<usize>> =
            self.named.iter().flat_map(|named| &named.metrics).map(place).collect();
        let known = named.iter().flatten().count() as f32 >= KNOWN * named.len() as f32;
        Layout { priors, named: if known { named } else { Vec::new() } }
    }

    /// A row's probability. Calibration knows steps; within a step the score still orders, by at most a hundredth.
    fn judge(&self, row: &[f32]) -> (f32, Interval) {
        let plain = self.plain.raw(row);
        let (score, calibration) = match &self.named {
            Some(named) if row.len() > N_FEATURES => {
                let score = named.share * named.ensemble.raw(row) + (1.0 - named.share) * plain;
                (score, &named.ensemble.calibration)
            }
            _ => (plain, &self.plain.calibration),
        };
        let interval = calibration.interval(score);
        let p = interval.probability();
        let ordered = p * (1.0 - 0.01 / (1.0 + score.exp()));
        (ordered.clamp(0.0, 1.0), interval)
    }

    /// Writes the file: a line with version, length and checksum, then JSON.
    ///
    /// # Errors
    /// The file cannot be written. A file that was there stays until the new one is whole.
    pub fn save(&self, path: &Path) -> Result<(), RampError> {
        let io = |source| RampError::Io { path: path.to_owned(), source };
        let body = serde_json::to_string(self).map_err(|error| io(error.into()))?;
        let text = format!("{MAGIC} {VERSION} {} {:016x}\n{body}", body.len(), checksum(body.as_bytes()));
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let mut whole = path.as_os_str().to_owned();
        whole.push(".new");
        std::fs::write(&whole, text).map_err(io)?;
        std::fs::rename(&whole, path).map_err(io)
    }

    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// The file cannot be read, is no model, of another version, or damaged.
    pub fn load(path: &Path) -> Result<Self, RampError> {
        let bytes = std::fs::read(path).map_err(|source| RampError::Io { path: path.to_owned(), source })?;
        parse(&bytes).map_err(|reason| RampError::Model { path: path.to_owned(), reason })
    }
}

fn parse(bytes: &[u8]) -> Result<RampModel, String> {
    let line = bytes.iter().take(100).position(|b| *b == b'\n').ok_or("not a ramp model")?;
    let (head, body) = (&bytes[..line], &bytes[line + 1..]);
    let head = std::str::from_utf8(head).map_err(|_| "not a ramp model")?;
    let [MAGIC, version, length, sum] = head.split(' ').collect::<Vec<_>>()[..] else {
        return Err("not a ramp model".into());
    };
    if version != VERSION.to_string() {
        return Err(format!("a model of version {version}, this program reads {VERSION}"));
    }
    if length != body.len().to_string() || sum != format!("{:016x}", checksum(body)) {
        return Err("damaged: length or checksum is wrong".into());
    }
    let model: RampModel = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let fits = |ensemble: &Ensemble, features| {
        !ensemble.boosters.is_empty()
            && ensemble.boosters.iter().all(|booster| booster.features() == features)
    };
    let named_fits = |named: &Named| {
        let layout = Layout { priors: Vec::new(), named: vec![None; named.metrics.len()] };
        fits(&named.ensemble, layout.width()) && (0.0..=1.0).contains(&named.share)
    };
    if !fits(&model.plain, N_FEATURES) || !model.named.as_ref().is_none_or(named_fits) {
        return Err("its trees are not for these features".into());
    }
    let sound =
        |prior: &Prior| [prior.peers, prior.own].iter().all(|scale| scale.is_finite() && *scale >= 0.0);
    if !model.priors.values().all(sound) {
        return Err("a metric's scale is not a number".into());
    }
    Ok(model)
}

/// FNV-1a: against damage, not against intent.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
