//! A model file that does not fit is refused with its reason; nothing panics.

use std::collections::BTreeMap;
use std::sync::Arc;

use predictor::{Metric, Model, ModelError, Predictor, Quality, TelemetrySample};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// The default model taken apart.
struct File {
    meta: serde_json::Value,
    /// Those that know no metric by name, and those that do.
    trees: serde_json::Value,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl File {
    fn default_model() -> Self {
        let bytes = Model::default_model().unwrap().to_bytes().unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().as_ref().unwrap();
        let (meta, trees) = serde_json::from_str(&metadata["foreshift"]).unwrap();
        let parsed = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = parsed.tensors().into_iter().map(|(name, view)| {
            let values = view.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            (name, (view.shape().to_vec(), values))
        });
        Self { meta, trees, tensors: tensors.collect() }
    }

    fn load(&self) -> Result<Model, ModelError> {
        let raw: BTreeMap<&String, Vec<u8>> = self
            .tensors
            .iter()
            .map(|(n, (_, v))| (n, v.iter().flat_map(|f| f.to_le_bytes()).collect()))
            .collect();
        let views = self.tensors.iter().map(|(n, (shape, _))| {
            (n.as_str(), TensorView::new(Dtype::F32, shape.clone(), &raw[n]).unwrap())
        });
        let text = serde_json::to_string(&(&self.meta, &self.trees)).unwrap();
        let meta = [("foreshift".to_owned(), text)].into();
        Model::from_bytes(&safetensors::serialize(views, Some(meta)).unwrap())
    }

    fn refused(change: impl FnOnce(&mut Self)) -> String {
        let mut file = Self::default_model();
        change(&mut file);
        file.load().expect_err("must be refused").to_string()
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    File::default_model().load().unwrap();
    let weight = "gru.state.weight";
    let said = |change: &dyn Fn(&mut File), words: &[&str]| {
        let error = File::refused(change);
        assert!(words.iter().all(|w| error.contains(w)), "{error}");
    };
    said(&|f| f.tensors.get_mut(weight).unwrap().1[7] = f32::NAN, &[weight, "not finite"]);
    said(&|f| f.tensors.get_mut("head.bias").unwrap().1[0] = f32::INFINITY, &["head.bias"]);
    said(&|f| drop(f.tensors.remove("head.weight")), &["head.weight", "missing"]);
    said(&|f| f.tensors.get_mut(weight).unwrap().0.reverse(), &[weight, "expected"]);
    said(&|f| f.meta["metrics"][3] = "rx_bps".into(), &["metrics", "rx_bps", "rx_pps", "retrain"]);
    said(&|f| f.meta["features_version"] = 0.into(), &["features_version"]);
    said(&|f| f.meta["hidden"] = 1_000_000_000u64.into(), &["hidden", "1 to 256"]);
    said(&|f| f.meta["window"] = 0.into(), &["window"]);
    said(&|f| f.meta["ensemble"]["weights"][2][1] = (-1.0).into(), &["turns a judge around"]);
    said(&|f| f.meta["ensemble"]["calibration"][0]["bounds"][0][1] = 2.0.into(), &["calibration"]);
    said(&|f| f.meta["judges"][0] = "oracle".into(), &["judges", "oracle", "gru"]);
    said(&|f| f.meta["alarm_from"] = 7.0.into(), &["alarm_from"]);
    said(&|f| f.tensors.get_mut("linear.weight").unwrap().1[3] = f32::NAN, &["linear.weight", "not finite"]);
    said(&|f| f.meta["alarm_horizon"] = 3.into(), &["alarm's horizon", "1 to 3"]);
    said(&|f| f.meta["alarm_horizon"] = u64::MAX.into(), &["alarm's horizon", "1 to 3"]);
    said(&|f| f.trees[0][1]["trees"][0]["left"][0] = 9000.into(), &["tree"]);
    for sort in 0..2 {
        said(&|f| f.trees[sort][1]["features"] = 3.into(), &["feature"]);
    }
    said(&|f| f.meta["ensemble"]["time_left"]["bounds"] = serde_json::json!([]), &["time left"]);
    said(&|f| f.meta["surprise"] = 1.into(), &["surprise"]);
}

#[test]
fn damaged_files_are_refused() {
    let bytes = Model::default_model().unwrap().to_bytes().unwrap();
    for length in (0..bytes.len()).step_by(97) {
        assert!(Model::from_bytes(&bytes[..length]).is_err(), "cut to {length}");
    }
    // Whatever bit flips in the header: an error or a model that gives numbers, never a panic.
    for at in 0..600 {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x15;
        if let Ok(model) = Model::from_bytes(&flipped) {
            let mut predictor = Predictor::new(Arc::new(model));
            assert!((0..60).all(|i| predictor.push(&TelemetrySample::new(i * 100)).probability.is_finite()));
        }
    }
    let missing = Model::load(std::path::Path::new("no/such/model.safetensors")).unwrap_err();
    assert!(missing.to_string().contains("no/such/model.safetensors"));
}

/// Finite weights that overflow on real features: drift takes over and says so.
#[test]
fn a_model_without_a_number_degrades_to_drift() {
    let mut file = File::default_model();
    let weights = &mut file.tensors.get_mut("linear.weight").unwrap().1;
    for (i, w) in weights.iter_mut().enumerate() {
        *w = if i % 2 == 0 { f32::MAX } else { f32::MIN };
    }
    let mut predictor = Predictor::new(Arc::new(file.load().unwrap()));
    let mut last = None;
    for i in 0..200u16 {
        let mut s = TelemetrySample::new(u64::from(i) * 100);
        let lost = f32::from(i.saturating_sub(100)) / 100.0;
        s.set(Metric::PathLossTx, lost).set(Metric::PathRttUs, 500.0 + f32::from(i % 7));
        last = Some(predictor.push(&s));
    }
    let last = last.unwrap();
    assert_eq!(last.quality, Quality::Degraded);
    assert_eq!(last.probability, last.drift);
    assert!(last.probability > 0.7, "{last:?}");
    assert_eq!(last.drivers[0].unwrap().metric, Metric::PathLossTx);
}

/// The budget for all engines of a site is 1 ms. The bound leaves room, as
/// tests share their cores.
#[test]
fn a_prediction_fits_the_control_tick() {
    let mut predictor = Predictor::new(Arc::new(Model::default_model().unwrap()));
    let started = std::time::Instant::now();
    for i in 0..1000u16 {
        let mut s = TelemetrySample::new(u64::from(i) * 100);
        s.set(Metric::PathRttUs, 500.0 + f32::from(i % 7));
        predictor.push(&s);
    }
    let each = started.elapsed() / 1000;
    let started = std::time::Instant::now();
    predictor.explain();
    println!("push {each:?}, explain {:?}", started.elapsed());
    assert!(each.as_micros() < 1000, "{each:?}");
}
