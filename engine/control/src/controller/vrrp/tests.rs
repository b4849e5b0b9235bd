//! An engine whose gateway is elected for, through the controller.

use crate::Controller;
use crate::config::{ControllerConfig, PredictionConfig, VrrpConfig};
use crate::io::{Assessment, Input, Mode, Output};
use dataplane::context::Version;
use dataplane::id::Nanos;
use std::net::{IpAddr, Ipv4Addr};

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 4));
const INTERVAL: Nanos = Nanos::from_millis(1000);

struct Engine {
    controller: Controller,
    now: Nanos,
}

impl Engine {
    fn new(mode: Mode) -> Engine {
        let vrrp = VrrpConfig {
            local: vec![OURS],
            priority: 150,
            failing_priority: Some(50),
            interval: INTERVAL,
            preempt: true,
        };
        let config = ControllerConfig {
            vrrp: Some(vrrp),
            prediction: PredictionConfig { mode, ..PredictionConfig::default() },
            epoch_floor: 1,
            ..ControllerConfig::alone("a1", "a")
        };
        Engine { controller: Controller::new(config), now: Nanos(0) }
    }

    fn step(&mut self, input: Option<Input>) -> Vec<Output> {
        let mut out = Vec::new();
        self.controller.step(self.now, input, &mut out);
        out
    }

    /// So many milliseconds; the priorities it advertised, and the last word on who is the gateway.
    fn run(&mut self, ms: u64, mut each: impl FnMut() -> Option<Input>) -> (Vec<u8>, Option<bool>) {
        let mut out = Vec::new();
        for _ in 0..ms / 5 {
            self.now = self.now.plus(Nanos::from_millis(5));
            if let Some(input) = each() {
                out.extend(self.step(Some(input)));
            }
            out.extend(self.step(None));
        }
        let advertised = out.iter().filter_map(|output| match output {
            Output::Advertise { from: OURS, priority, interval: INTERVAL } => Some(*priority),
            _ => None,
        });
        let gateway = out.iter().rev().find_map(|output| match output {
            Output::Gateway { version: Version::V4, active } => Some(*active),
            _ => None,
        });
        (advertised.collect(), gateway)
    }
}

fn alarming() -> Option<Input> {
    Some(Input::Assessment(Assessment { probability: 0.99, busy: 0.1, ..Assessment::default() }))
}

fn heard(priority: u8) -> Input {
    Input::Advertised { from: OTHER, priority, interval: INTERVAL }
}

#[test]
fn an_engine_about_to_fail_lets_another_router_step_in_and_says_why() {
    let mut engine = Engine::new(Mode::Auto);
    assert_eq!(engine.run(5000, || None), (vec![150, 150], Some(true)));
    let (advertised, _) = engine.run(500, alarming);
    assert_eq!(advertised.last(), Some(&50), "at once, not with the next advertisement");
    engine.step(Some(heard(100)));
    let (advertised, _) = engine.run(2000, alarming);
    assert!(advertised.is_empty(), "the router of priority 100 is the gateway: {advertised:?}");
    let decisions: Vec<_> =
        engine.controller.decisions().map(|d| (d.action.clone(), d.rule.clone())).collect();
    let said = |action: &str, rule: &str| decisions.iter().any(|(a, r)| a == action && r.contains(rule));
    assert!(said("VRRP priority 150 -> 50", "about to fail"), "{decisions:?}");
    assert!(said("gateway left (V4)", "another router"), "{decisions:?}");
}

#[test]
fn an_engine_that_only_observes_keeps_its_priority() {
    let mut engine = Engine::new(Mode::Observe);
    engine.run(5000, || None);
    let (advertised, gateway) = engine.run(3000, alarming);
    assert!(!advertised.is_empty() && advertised.iter().all(|priority| *priority == 150), "{advertised:?}");
    assert_eq!(gateway, None, "nothing changed");
}

#[test]
fn one_that_ends_tells_those_who_listen() {
    let mut engine = Engine::new(Mode::Auto);
    engine.run(5000, || None);
    let out = engine.step(Some(Input::Shutdown));
    let leaves = Output::Advertise { from: OURS, priority: 0, interval: INTERVAL };
    assert!(out.contains(&leaves), "{out:?}");
    assert!(out.contains(&Output::Gateway { version: Version::V4, active: false }), "{out:?}");
}
