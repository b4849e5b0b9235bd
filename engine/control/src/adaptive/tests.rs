//! One end's manager, sample by sample: what bounds it, and what the policy lets it choose.

use super::*;
use crate::config::{PathPolicy, RateRange};
use crate::io::Forecast;
use dataplane::id::GroupId;
use proptest::prelude::*;

const ESP: TunnelId = TunnelId(0);
const GRE: TunnelId = TunnelId(1);
const MBPS: u64 = 1_000_000;
/// Between two samples.
const SAMPLE: u64 = 100;

/// A group of one far engine with an ESP and, unless it is to be left out, a GRE tunnel of 10 Mbit/s; two more may be made beside each.
struct Rig {
    adaptive: Adaptive,
    now_ms: u64,
    views: BTreeMap<TunnelId, View>,
    rates: BTreeMap<TunnelId, u64>,
    mtu: BTreeMap<TunnelId, u16>,
    failure: BTreeMap<TunnelId, f32>,
    done: Vec<(u64, Action, String)>,
}

fn config(gre: bool) -> AdaptiveConfig {
    let tunnel = |id: u16, parallel_to, encrypted, cycles_per_packet| AdaptiveTunnel {
        tunnel: TunnelId(id),
        parallel_to,
        encrypted,
        cost: 1,
        cycles_per_packet,
        rate: Some(RateRange { configured: 10 * MBPS, ceiling: 10 * MBPS }),
    };
    let mut tunnels = vec![tunnel(0, None, true, 400.0)];
    tunnels.extend(gre.then(|| tunnel(1, None, false, 100.0)));
    tunnels.extend([2, 3].map(|id| tunnel(id, Some(ESP), true, 400.0)));
    tunnels.extend([4, 5].iter().filter(|_| gre).map(|id| tunnel(*id, Some(GRE), false, 100.0)));
    AdaptiveConfig {
        idle_after: Nanos::from_millis(3000),
        cooldown: Nanos::from_millis(1000),
        tunnels,
        ..AdaptiveConfig::new()
    }
}

impl Rig {
    fn new(config: AdaptiveConfig) -> Rig {
        let view = View { up: true, was_up: true, loss: 0.0, rtt_us: 500.0, able: true };
        let ids: Vec<TunnelId> = config.tunnels.iter().map(|t| t.tunnel).collect();
        Rig {
            now_ms: 1000,
            views: ids.iter().map(|id| (*id, view)).collect(),
            rates: config.tunnels.iter().filter_map(|t| Some((t.tunnel, t.rate?.configured))).collect(),
            mtu: ids.iter().map(|id| (*id, 1400)).collect(),
            failure: BTreeMap::new(),
            adaptive: Adaptive::new(config, |_| "b1".to_owned()),
            done: Vec::new(),
        }
    }

    /// A sample under `load` bits a second, spread evenly, the far end agreeing to everything.
    fn sample(&mut self, load: f64, forecast: Vec<Forecast>) {
        self.now_ms += SAMPLE;
        let now = Nanos::from_millis(self.now_ms);
        let carriers: Vec<TunnelId> =
            self.rates.keys().copied().filter(|t| self.adaptive.carries(*t)).collect();
        let traffic = |(&tunnel, &rate): (&TunnelId, &u64)| TunnelTraffic {
            tunnel,
            sent_bps: if carriers.contains(&tunnel) { load / carriers.len() as f64 } else { 0.0 },
            rate_bps: Some(rate),
            mtu: self.mtu[&tunnel],
            failure: self.failure.get(&tunnel).copied().unwrap_or(f32::NAN),
        };
        let tunnels = self.rates.iter().map(traffic).collect();
        let traffic = GroupTraffic { group: GroupId(0), tunnels, forecast };
        for decided in self.adaptive.sample(now, &traffic, &self.views.clone()) {
            let Move { action, rule, .. } = decided;
            self.done.push((self.now_ms, action, rule));
            let steps = self.adaptive.done(now, action);
            if let Action::Rate { tunnel, to, .. } = action {
                self.rates.insert(tunnel, to);
            }
            for step in steps {
                let (tunnel, answer) = match (action, step) {
                    (Action::Create(t), Step::Say(ParallelWord::Propose)) => (t, ParallelWord::Accept),
                    (Action::Drain(t), Step::Say(ParallelWord::Drain)) => (t, ParallelWord::Idle),
                    other => panic!("{other:?}"),
                };
                self.adaptive.hear(now, tunnel, &answer, &self.views);
            }
        }
        self.adaptive.watch(now, &self.views);
    }

    fn run(&mut self, samples: usize, load: f64) {
        (0..samples).for_each(|_| self.sample(load, Vec::new()));
    }

    fn actions(&self) -> Vec<Action> {
        self.done.iter().map(|(_, action, _)| *action).filter(|a| !matches!(a, Action::Hold(_))).collect()
    }
}

fn forecast(upper: f64) -> Vec<Forecast> {
    vec![Forecast { ahead: Nanos::from_millis(1000), median: upper * 0.9, upper }]
}

#[test]
fn load_makes_tunnels_one_more_than_it_needs_never_and_gives_them_up() {
    let mut rig = Rig::new(config(false));
    rig.run(50, 7.9e6);
    assert_eq!(rig.actions(), [], "0.79 is not above 0.8");
    rig.run(2, 8.1e6);
    rig.run(50, 7.9e6);
    assert_eq!(rig.actions(), [], "two samples are not three");
    rig.run(3, 8.1e6);
    assert_eq!(rig.actions(), [Action::Create(TunnelId(2))]);
    rig.run(50, 15.9e6);
    assert_eq!(rig.actions().len(), 1, "two tunnels of 10 carry 15.9");
    rig.run(10, 20e6);
    assert_eq!(rig.actions()[1..], [Action::Create(TunnelId(3))]);
    // 12 of 30: with 20 left, 0.6 would be used, more than 0.5.
    rig.run(100, 12e6);
    assert_eq!(rig.actions().len(), 2, "hysteresis");
    rig.run(31, 9e6);
    assert_eq!(rig.actions()[2..], [Action::Drain(TunnelId(3))]);
    rig.run(100, 9e6);
    assert_eq!(rig.actions().len(), 3, "10 would carry 9 only at 0.9");
    rig.run(60, 1e6);
    assert_eq!(rig.actions()[3..], [Action::Drain(TunnelId(2))]);
    let gone = rig.adaptive.spares.values().all(|spare| spare.phase == Phase::Absent);
    assert!(gone, "{:?}", rig.adaptive.spares);
}

#[test]
fn a_shaper_is_let_go_faster_before_a_tunnel_is_made_and_slower_in_the_end() {
    let mut settings = config(false);
    settings.tunnels[0].rate = Some(RateRange { configured: 10 * MBPS, ceiling: 15 * MBPS });
    let mut rig = Rig::new(settings);
    rig.run(3, 10e6);
    assert_eq!(rig.actions(), [Action::Rate { tunnel: ESP, from: 10 * MBPS, to: 15 * MBPS }]);
    rig.run(30, 11.9e6);
    assert_eq!(rig.actions().len(), 1, "0.79 of 15");
    rig.run(30, 14e6);
    assert_eq!(rig.actions()[1..], [Action::Create(TunnelId(2))], "as fast as it may be");
    rig.run(200, 1e6);
    let slower = Action::Rate { tunnel: ESP, from: 15 * MBPS, to: 10 * MBPS };
    assert_eq!(rig.actions()[2..], [Action::Drain(TunnelId(2)), slower]);
}

#[test]
fn a_forecast_makes_a_tunnel_before_the_load_comes_and_keeps_it_until_it_has_gone() {
    let mut rig = Rig::new(config(false));
    rig.run(20, 6e6);
    (0..3).for_each(|_| rig.sample(2e6, forecast(7.9e6)));
    assert_eq!(rig.actions(), []);
    (0..3).for_each(|_| rig.sample(2e6, forecast(12e6)));
    assert_eq!(rig.actions(), [Action::Create(TunnelId(2))]);
    assert!(rig.done[0].2.starts_with("forecast: within 1000 ms"), "{:?}", rig.done);
    (0..100).for_each(|_| rig.sample(2e6, forecast(12e6)));
    assert_eq!(rig.actions().len(), 1, "it is still to come");
    let late = vec![Forecast { ahead: Nanos::from_millis(400_000), median: 11e6, upper: 30e6 }];
    (0..20).for_each(|_| rig.sample(2e6, late.clone()));
    assert_eq!(rig.actions().len(), 1, "beyond the lead it does not count");
}

#[test]
fn absurd_forecasts_change_nothing_and_are_told_once_a_minute() {
    let mut rig = Rig::new(config(false));
    rig.run(20, 6e6);
    for (median, upper) in
        [(f64::NAN, 1e6), (1e6, f64::NAN), (-1e6, 9e6), (9e6, -9e6), (1e6, f64::INFINITY), (1e6, 1e12)]
    {
        (0..10).for_each(|_| {
            rig.sample(6e6, vec![Forecast { ahead: Nanos(1), median, upper }]);
        });
    }
    assert_eq!(rig.done.len(), 1, "{:?}", rig.done);
    assert_eq!(rig.done[0].1, Action::Hold(Hold::Forecast));
    rig.run(3, 9e6);
    assert_eq!(rig.actions(), [Action::Create(TunnelId(2))], "what is measured still counts");
}

#[test]
fn the_number_of_tunnels_is_bounded_and_so_are_actions() {
    let mut settings = config(false);
    settings.tunnels_max = 2;
    let mut rig = Rig::new(settings);
    rig.run(2000, 500e6);
    assert_eq!(rig.actions(), [Action::Create(TunnelId(2))]);
    assert!(rig.done.iter().any(|(_, action, _)| *action == Action::Hold(Hold::Bound)), "and said so");
    let held = rig.done.iter().filter(|(_, action, _)| matches!(action, Action::Hold(_))).count();
    assert!(held <= 4, "once a minute: {held}");
}

#[test]
fn a_policy_is_never_broken() {
    let chosen = |policy: PathPolicy, change: &dyn Fn(&mut Rig)| {
        let mut rig = Rig::new(AdaptiveConfig { policy, ..config(true) });
        change(&mut rig);
        rig.run(200, 1e6);
        rig.actions()
    };
    let any = PathPolicy::default();
    let to_gre = |forced| Action::Migrate { from: ESP, to: GRE, forced };
    let down = |rig: &mut Rig| rig.views.get_mut(&ESP).unwrap().up = false;
    let nothing = |_: &mut Rig| {};
    assert_eq!(chosen(any, &nothing), [to_gre(false)], "trusted: fewer cycles a byte");
    assert_eq!(chosen(any, &down), [to_gre(true)]);
    let not_yet = |rig: &mut Rig| {
        rig.views.insert(ESP, View { up: false, was_up: false, loss: 0.0, rtt_us: 0.0, able: true });
        rig.run(90, 1e6);
        assert_eq!(rig.actions(), [], "it may still come");
    };
    assert_eq!(chosen(any, &not_yet), [to_gre(true)]);
    let encrypted = PathPolicy { encrypted: true, ..any };
    assert_eq!(chosen(encrypted, &nothing), []);
    assert_eq!(chosen(encrypted, &down), [], "rather nothing than in the clear");
    let floor = PathPolicy { mtu_min: 1300, ..any };
    let small = |rig: &mut Rig| *rig.mtu.get_mut(&GRE).unwrap() = 1200;
    assert_eq!(chosen(floor, &small), []);
    let smaller = |rig: &mut Rig| *rig.mtu.get_mut(&ESP).unwrap() = 1200;
    assert_eq!(chosen(floor, &smaller), [to_gre(true)], "a path MTU that fell below the floor");
    let dear = |rig: &mut Rig| rig.adaptive.config.tunnels[1].cost = 9;
    assert_eq!(chosen(PathPolicy { cost_max: 5, ..any }, &dear), []);
    assert_eq!(
        chosen(PathPolicy { cost_max: 5, ..any }, &|rig| {
            dear(rig);
            down(rig);
        }),
        []
    );
    let mut rig = Rig::new(AdaptiveConfig { policy: encrypted, ..config(true) });
    rig.run(3, 1e6);
    assert!(
        rig.adaptive.is_allowed(ESP)
            && !rig.adaptive.is_allowed(GRE)
            && !rig.adaptive.is_allowed(TunnelId(4))
    );
}

#[test]
fn what_is_measured_is_weighed_in_its_order() {
    let to = |change: &dyn Fn(&mut View), back: &dyn Fn(&mut View)| {
        let mut rig = Rig::new(config(true));
        change(rig.views.get_mut(&GRE).unwrap());
        back(rig.views.get_mut(&ESP).unwrap());
        rig.run(40, 1e6);
        rig.done.iter().map(|(_, _, rule)| rule.clone()).collect::<Vec<_>>()
    };
    let same = |_: &mut View| {};
    assert_eq!(to(&same, &same), ["fewer cycles a byte for 30 samples"]);
    assert_eq!(to(&|gre| gre.loss = 0.05, &same), [""; 0], "loss weighs more");
    assert_eq!(to(&|gre| gre.rtt_us = 3000.0, &same), [""; 0], "and so does a longer way");
    assert_eq!(to(&same, &|esp| esp.loss = 0.2), ["less loss for 30 samples"]);
    assert_eq!(to(&same, &|esp| esp.rtt_us = 20_000.0), ["a shorter way for 30 samples"]);
    assert_eq!(to(&|gre| gre.loss = f32::NAN, &same), [""; 0], "what is not known is not better");
}

#[test]
fn a_path_that_is_said_to_fail_is_left_with_room_made_first() {
    let mut settings = config(true);
    // Otherwise alike, and ESP is the first.
    settings.tunnels.iter_mut().for_each(|t| t.cycles_per_packet = 0.0);
    let mut rig = Rig::new(settings);
    rig.run(10, 7e6);
    rig.run(3, 11e6);
    assert_eq!(rig.actions(), [Action::Create(TunnelId(2))]);
    rig.run(10, 11e6);
    rig.failure.extend([(ESP, 0.9), (GRE, 0.85)]);
    rig.run(50, 11e6);
    assert_eq!(rig.actions().len(), 1, "the engine is to fail, not this path: no other is better");
    rig.failure.insert(GRE, 0.1);
    rig.run(1, 11e6);
    assert_eq!(rig.actions()[1..], [Action::Create(TunnelId(4))], "one GRE tunnel cannot carry 11");
    rig.run(15, 11e6);
    assert_eq!(rig.actions()[2..], [Action::Migrate { from: ESP, to: GRE, forced: false }]);
    assert!(rig.done.iter().any(|(_, _, rule)| rule.contains("P(failure) > 0.70")));
}

#[test]
fn observing_records_and_does_nothing() {
    let mut rig = Rig::new(AdaptiveConfig { act: false, ..config(true) });
    rig.run(300, 20e6);
    assert!((1..=24).contains(&rig.done.len()), "{}", rig.done.len());
    assert!(rig.adaptive.spares.values().all(|spare| spare.phase == Phase::Absent));
    assert!(rig.adaptive.carries(ESP) && !rig.adaptive.carries(GRE));
}

/// What the load, a forecast or a model may be told to be.
fn nonsense() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(-1.0),
        Just(0.0),
        Just(1.0),
        Just(1e18),
        0.0..40e6f64,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever flaps: never more actions in any window than the budget, never two within the cooldown but those of one decision,
    /// never more tunnels than the bound.
    #[test]
    fn whatever_flaps_the_bounds_hold(
        script in prop::collection::vec((1..60usize, nonsense(), nonsense(), nonsense()), 1..60),
    ) {
        let mut settings = config(true);
        settings.actions_max = 8;
        settings.tunnels_max = 4;
        let (window, cooldown) = (settings.actions_window.as_millis(), settings.cooldown.as_millis());
        let mut rig = Rig::new(settings);
        for (samples, load, upper, failure) in script {
            for i in 0..samples {
                let flap = if i % 2 == 0 { failure } else { 1.0 - failure };
                rig.failure.extend([(ESP, flap as f32), (GRE, failure as f32)]);
                rig.sample(load, forecast(upper));
                let made = rig.adaptive.spares.values().filter(|s| s.phase != Phase::Absent).count();
                prop_assert!(made + 2 <= 4, "{made} beside two");
            }
        }
        let acted: Vec<u64> =
            rig.done.iter().filter(|(_, a, _)| !matches!(a, Action::Hold(_))).map(|(at, ..)| *at).collect();
        for (i, at) in acted.iter().enumerate() {
            let within = acted[i..].iter().filter(|later| *later - at <= window).count();
            prop_assert!(within <= 8, "{within} actions in a window");
        }
        let mut moments = acted;
        moments.dedup();
        prop_assert!(moments.windows(2).all(|pair| pair[1] - pair[0] >= cooldown), "{moments:?}");
    }
}
