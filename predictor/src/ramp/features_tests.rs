use super::*;
use crate::rng::Rng;

fn values(rng: &mut Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| if rng.unit() < 0.05 { f32::NAN } else { rng.unit() * 10.0 }).collect()
}

fn plain_layout(metrics: usize) -> Layout {
    Layout { priors: vec![None; metrics], named: Vec::new() }
}

#[test]
fn every_feature_has_a_name_of_its_own() {
    let metrics = ["a".to_owned(), "b".to_owned()];
    let layout = Layout { priors: vec![None; 2], named: vec![Some(1), None] };
    let names: std::collections::BTreeSet<String> =
        (0..layout.width()).map(|at| name(at, &metrics)).collect();
    assert_eq!(names.len(), layout.width());
    let (mut stream, mut row) = (Stream::new(1, &layout), Vec::new());
    for minute in 0..40 {
        row.clear();
        stream.push(minute, &[0], &[0.0, minute as f32], &mut row);
    }
    assert_eq!(row.len(), layout.width());
    // The first named is the second metric, the second is not in the telemetry.
    assert!(row[N_FEATURES] > 0.0 && row[N_FEATURES + NAMED.len()..].iter().all(|x| x.is_nan()));
}

#[test]
fn units_and_order_of_metrics_do_not_matter() {
    let mut rng = Rng::new(2);
    let (nodes, width) = (4, 6);
    let members: Vec<usize> = (0..nodes).collect();
    let mut plain = Stream::new(nodes, &plain_layout(width));
    let mut scaled = Stream::new(nodes, &plain_layout(width));
    for minute in 0..200 {
        let mut x = values(&mut rng, nodes * width);
        if minute > 120 {
            x[width + 3] += (minute - 120) as f32;
        }
        // Metric m becomes metric 5 − m, in units 1024 times as small.
        let turned: Vec<f32> =
            (0..nodes * width).map(|i| x[i / width * width + (width - 1 - i % width)] * 1024.0).collect();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        plain.push(minute, &members, &x, &mut a);
        scaled.push(minute, &members, &turned, &mut b);
        // Before that, equal deviations leave open which metric leads.
        if minute < 30 {
            continue;
        }
        for (i, (a, b)) in a.iter().zip(&b).enumerate() {
            let same = (a.is_nan() && b.is_nan()) || (a - b).abs() <= 2e-3 * (1.0 + a.abs());
            assert!(same, "minute {minute}, {}: {a} {b}", name(i % N_FEATURES, &[]));
        }
    }
}

#[test]
fn a_load_that_all_share_stays_calm_and_a_node_of_its_own_does_not() {
    let mut rng = Rng::new(4);
    let members: Vec<usize> = (0..6).collect();
    let (mut shared, mut single) = (Stream::new(6, &plain_layout(5)), Stream::new(6, &plain_layout(5)));
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for minute in 0..240 {
        let noise: Vec<f32> = (0..30).map(|_| rng.unit()).collect();
        let ramp = (minute as f32 - 200.0).max(0.0) * 0.3;
        let all: Vec<f32> = noise.iter().map(|x| x + ramp).collect();
        let one: Vec<f32> =
            noise.iter().enumerate().map(|(i, x)| x + if i == 13 { ramp } else { 0.0 }).collect();
        a.clear();
        b.clear();
        shared.push(minute, &members, &all, &mut a);
        single.push(minute, &members, &one, &mut b);
    }
    let far = |rows: &[f32], node: usize| rows[node * N_FEATURES];
    assert!((0..6).all(|node| far(&a, node) < 3.0), "{:?}", &a[..10]);
    assert!(far(&b, 2) > 10.0 && (0..6).filter(|node| *node != 2).all(|node| far(&b, node) < 3.0));
}

#[test]
fn odd_values_leave_only_finite_features_or_none() {
    let mut stream = Stream::new(3, &plain_layout(4));
    let odd = [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN, 0.0, 1e-40, -1.0, 7.0];
    let mut rng = Rng::new(9);
    for minute in 0..300 {
        let x: Vec<f32> = (0..12).map(|_| odd[rng.below(odd.len())]).collect();
        // Nodes come and go, minutes are left out.
        let members: Vec<usize> = (0..3).filter(|_| rng.unit() < 0.7).collect();
        let mut out = Vec::new();
        stream.push(minute * 3, &members, &x[..members.len() * 4], &mut out);
        assert_eq!(out.len(), members.len() * N_FEATURES);
        assert!(out.iter().all(|x| !x.is_infinite()), "minute {minute}");
    }
    // And it recovers: values in order give numbers again.
    let mut out = Vec::new();
    for minute in 1000..1100 {
        out.clear();
        stream.push(minute, &[0, 1, 2], &[1.0; 12], &mut out);
    }
    assert!(out[..5].iter().all(|x| x.is_nan() || x.is_finite()));
    assert!(!out[0].is_nan());
}
