//! The real forecaster in front of the real controller: a season of twelve seconds, sample by sample.

use super::*;
use control::Controller;
use control::config::{
    AdaptiveConfig, AdaptiveTunnel, ControllerConfig, GroupConfig, Member, MemberKind, Protocol, RateRange,
    TunnelConfig,
};
use control::io::{Input, Output};
use control::message::{Endpoints, Message, ParallelWord, TunnelKind};
use dataplane::id::{Epoch, GroupId};
use std::time::Duration;

const BASE: TunnelId = TunnelId(0);
const SPARE: TunnelId = TunnelId(1);
const RATE: u64 = 10_000_000;
const SAMPLE: u64 = predictor::SAMPLE_MS;
const SEASON: usize = 120;
const LEAD: usize = 20;

fn plan() -> AdaptivePlan {
    let step = Duration::from_millis(SAMPLE);
    AdaptivePlan {
        group: GroupId(0),
        tunnels: vec![BASE, SPARE],
        configured: vec![BASE],
        forecast: Some(ForecastPlan { step, season: SEASON, horizons: vec![1, LEAD / 2, LEAD] }),
    }
}

fn config() -> ControllerConfig {
    let endpoints = |number| {
        let (local, remote) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        Endpoints { local, remote, kind: TunnelKind::Gre, number }
    };
    let tunnel = |id: TunnelId| TunnelConfig {
        id,
        name: format!("t{id}"),
        peer: "b1".to_owned(),
        endpoints: endpoints(id.0),
        protocol: Protocol::Fixed { probed: false, spi: None },
    };
    let known = |tunnel| AdaptiveTunnel {
        tunnel,
        parallel_to: (tunnel != BASE).then_some(BASE),
        encrypted: false,
        cost: 0,
        cycles_per_packet: 0.0,
        rate: Some(RateRange { configured: RATE, ceiling: RATE }),
    };
    let adaptive = AdaptiveConfig {
        cooldown: Nanos::from_millis(500),
        idle_after: Nanos::from_millis(1000),
        actions_max: 1000,
        lead: Nanos::from_millis(LEAD as u64 * SAMPLE),
        tunnels: vec![known(BASE), known(SPARE)],
        ..AdaptiveConfig::new()
    };
    let own = |tunnel| Member { tunnel, kind: MemberKind::Own };
    ControllerConfig {
        tunnels: vec![tunnel(BASE), tunnel(SPARE)],
        groups: vec![GroupConfig {
            id: GroupId(0),
            name: "b".to_owned(),
            site: "b".to_owned(),
            members: vec![own(BASE), own(SPARE)],
            spread: Default::default(),
            adaptive: Some(adaptive),
        }],
        epoch_floor: 1,
        ..ControllerConfig::alone("a1", "a")
    }
}

/// An engine whose far end agrees to everything.
struct Rig {
    controller: Controller,
    watch: TrafficWatch,
    model: Arc<Model>,
    now_ms: u64,
    sent: BTreeMap<TunnelId, u64>,
    weights: Vec<(TunnelId, u32)>,
    /// When, and by which rule at which utilisation.
    created: Vec<(u64, String, f64)>,
}

impl Rig {
    fn new() -> Rig {
        let model = Arc::new(Model::default_model().expect("the built-in model"));
        let now = Nanos::from_millis(1000);
        let mut rig = Rig {
            controller: Controller::new(config()),
            watch: TrafficWatch::new(&[plan()], &model, now).expect("a season that fits"),
            model,
            now_ms: 1000,
            sent: BTreeMap::new(),
            weights: vec![(BASE, 65_536)],
            created: Vec::new(),
        };
        let peer = "b1".to_owned();
        let hello = Message::Hello {
            site: "b".to_owned(),
            epoch: Epoch(1),
            owner: None,
            parallel: true,
            shares_config: false,
            checks: false,
        };
        rig.step(Some(Input::PeerUp { peer: peer.clone() }));
        rig.step(Some(Input::Message { peer, message: hello }));
        rig.step(None);
        rig
    }

    fn step(&mut self, input: Option<Input>) {
        let mut out = Vec::new();
        self.controller.step(Nanos::from_millis(self.now_ms), input, &mut out);
        for output in out {
            match output {
                Output::Weights { members, .. } => self.weights = members,
                Output::Send { peer, message: Message::Parallel { tunnel, says } } => {
                    let answer = match says {
                        ParallelWord::Propose => ParallelWord::Accept,
                        ParallelWord::Drain => ParallelWord::Idle,
                        _ => continue,
                    };
                    let message = Message::Parallel { tunnel: tunnel.turned(), says: answer };
                    self.step(Some(Input::Message { peer, message }));
                }
                Output::Decision(decision) if decision.action.starts_with("create") => {
                    let used = decision.inputs.iter().find(|(name, _)| name == "utilisation");
                    let used = used.expect("it is an input").1.parse().expect("a number");
                    self.created.push((self.now_ms, decision.rule, used));
                }
                _ => {}
            }
        }
    }

    /// A tenth of a second under `load`, bits a second.
    fn sample(&mut self, load: f64) {
        for (tunnel, part) in &self.weights {
            let bytes = load / 8.0 * SAMPLE as f64 / 1000.0 * f64::from(*part) / 65_536.0;
            *self.sent.entry(*tunnel).or_default() += bytes as u64;
        }
        self.now_ms += SAMPLE;
        let (sent, now) = (self.sent.clone(), Nanos::from_millis(self.now_ms));
        let seen = |id: TunnelId| Seen {
            sent_bytes: sent.get(&id).copied().unwrap_or(0),
            rate_bps: Some(RATE),
            mtu: 1400,
        };
        let nothing = TelemetrySample::new(self.now_ms);
        for group in self.watch.sample(now, seen, (&nothing, &self.model), |_| None) {
            self.step(Some(Input::Traffic(group)));
        }
        self.step(None);
    }
}

/// Deterministic, about uniform in −1..1.
fn noise(step: usize) -> f64 {
    let mixed = (step as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 40) as f64 / (1u64 << 23) as f64 - 1.0
}

/// Quiet, and for a quarter of each season a spike beyond what one tunnel carries; with noise.
fn load(step: usize) -> f64 {
    let spike = (60..90).contains(&(step % SEASON));
    let base = if spike { 12e6 } else { 3e6 };
    base * (1.0 + 0.05 * noise(step))
}

#[test]
fn a_spike_that_comes_every_season_is_met_with_a_tunnel_made_before() {
    let (mut rig, seasons) = (Rig::new(), 14);
    let mut carriers_before_spike = Vec::new();
    for step in 0..seasons * SEASON {
        if step % SEASON == 60 {
            let carry = rig.weights.iter().filter(|(_, part)| *part > 0).count();
            carriers_before_spike.push(carry);
        }
        rig.sample(load(step));
    }
    let begun = |at: u64| ((at - 1000) / SAMPLE) as usize;
    let learnt = 2 * SEASON + 2 * LEAD + 200;
    let early: Vec<_> = rig.created.iter().filter(|(at, ..)| begun(*at) < learnt).collect();
    assert!(
        early.iter().all(|(_, rule, _)| rule.starts_with("utilisation")),
        "nothing to forecast by: {early:?}"
    );
    let late: Vec<_> = rig.created.iter().filter(|(at, ..)| begun(*at) > learnt + 2 * SEASON).collect();
    let ahead = late
        .iter()
        .filter(|(at, rule, used)| rule.starts_with("forecast") && *used < 0.8 && begun(*at) % SEASON < 60);
    let (ahead, spikes) = (ahead.count(), seasons - learnt.div_ceil(SEASON) - 2);
    println!("  {ahead} of {spikes} spikes met by a tunnel that was forecast; {late:?}");
    assert!(ahead + 1 >= spikes, "{ahead} of {spikes}: {late:?}");
    let ready = carriers_before_spike.iter().rev().take(spikes - 1).filter(|carry| **carry == 2).count();
    assert_eq!(ready, spikes - 1, "both carry when the spike begins: {carriers_before_spike:?}");
}

#[test]
fn what_is_measured_is_told_as_it_was() {
    let mut rig = Rig::new();
    (0..5).for_each(|_| rig.sample(4e6));
    let status = rig.controller.groups()[0].adaptive.clone().expect("an adaptive group");
    assert!((status.offered_bps - 4e6).abs() < 1e3, "{status:?}");
    assert_eq!((status.capacity_bps, status.forecast_bps), (Some(RATE as f64), None));
}
