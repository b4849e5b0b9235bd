use super::*;
use crate::config::{
    ControllerConfig, GroupConfig, HaConfig, InitialRole, Member, MemberKind, ProbeConfig, Protocol, Spread,
    TunnelConfig, WithoutWitness,
};
use crate::io::{Assessment, Input, Output};
use crate::message::{Endpoints, Message};
use dataplane::id::{GroupId, TunnelId};

/// a2, the standby of site a, with so many tunnels to site b; both other engines are connected.
struct Standby {
    controller: Controller,
    now: Nanos,
    paths: usize,
}

impl Standby {
    fn new(paths: usize, spacing_ms: u64) -> Standby {
        let tunnel = |at: usize| TunnelConfig {
            id: TunnelId(at as u16),
            name: format!("a2-b1-{at}"),
            peer: "b1".into(),
            endpoints: Endpoints::new(
                "192.0.2.2".parse().unwrap(),
                format!("198.51.100.{}", 1 + at).parse().unwrap(),
            ),
            protocol: Protocol::Fixed { probed: true, spi: None },
        };
        let member = |at: usize| Member { tunnel: TunnelId(at as u16), kind: MemberKind::Own };
        let group = GroupConfig {
            id: GroupId(0),
            name: "site-b".into(),
            site: "b".into(),
            members: (0..paths).map(member).collect(),
            spread: Spread::default(),
            adaptive: None,
        };
        let ha = HaConfig {
            initial: InitialRole::Standby,
            peer: "a1".to_owned(),
            witness: None,
            lease: Nanos::from_millis(400),
            without_witness: WithoutWitness::Hold,
            shares_config: false,
            failback: None,
        };
        let config = ControllerConfig {
            ha: Some(ha),
            tunnels: (0..paths).map(tunnel).collect(),
            groups: vec![group],
            probe: ProbeConfig { interval_mean: Nanos::from_millis(spacing_ms), ..ProbeConfig::default() },
            ..ControllerConfig::alone("a2", "a")
        };
        let mut standby = Standby { controller: Controller::new(config), now: Nanos(0), paths };
        for peer in ["a1", "b1"] {
            standby.feed(Some(Input::PeerUp { peer: peer.into() }));
        }
        standby.run(1000);
        standby
    }

    fn feed(&mut self, input: Option<Input>) -> Vec<Output> {
        let mut out = Vec::new();
        self.controller.step(self.now, input, &mut out);
        out
    }

    fn says(&mut self, peer: &str, raised: bool) {
        let message = Message::Alarm { site: "a".into(), raised };
        self.feed(Some(Input::Message { peer: peer.into(), message }));
    }

    /// So long, with a tick every 2 ms; probes and reports of each path, a second.
    fn run(&mut self, ms: u64) -> (f64, f64) {
        let (mut probes, mut reports) = (0, 0);
        for _ in 0..ms / 2 {
            self.now = self.now.plus(Nanos::from_millis(2));
            for output in self.feed(None) {
                probes += usize::from(matches!(output, Output::SendProbe { .. }));
                let report = |m: &Message| matches!(m, Message::PathReport { .. });
                reports += usize::from(matches!(&output, Output::Send { message, .. } if report(message)));
            }
        }
        let each = |count: usize| count as f64 / self.paths as f64 / (ms as f64 / 1000.0);
        (each(probes), each(reports))
    }

    fn assert_runs(&mut self, ms: u64, probes: std::ops::Range<f64>, reports: std::ops::RangeInclusive<f64>) {
        let (probed, reported) = self.run(ms);
        assert!(probes.contains(&probed), "{probed} probes a path and second, not {probes:?}");
        assert!(reports.contains(&reported), "{reported} reports, not {reports:?}");
    }
}

#[test]
fn an_alarm_of_either_engine_of_the_site_is_looked_at_closely_for_ten_seconds() {
    let mut a2 = Standby::new(2, 20);
    a2.assert_runs(4000, 40.0..60.0, 9.0..=10.0);
    a2.says("b1", true);
    a2.assert_runs(4000, 40.0..60.0, 9.0..=10.0);
    a2.says("a1", true);
    a2.assert_runs(4000, 170.0..300.0, 45.0..=50.0);
    a2.says("a1", true); // said again: it is still the same alarm
    a2.run(6100);
    a2.assert_runs(4000, 40.0..60.0, 9.0..=10.0);
    a2.says("a1", false);
    a2.says("a1", true);
    a2.assert_runs(4000, 170.0..300.0, 45.0..=50.0);
    a2.says("a1", false);
    a2.assert_runs(4000, 40.0..60.0, 9.0..=10.0);
    for _ in 0..3 {
        a2.feed(Some(Input::Assessment(Assessment { probability: 0.9, ..Assessment::default() })));
    }
    a2.assert_runs(4000, 170.0..300.0, 45.0..=50.0);
}

#[test]
fn of_many_paths_each_is_looked_at_less_closely() {
    for (paths, probes, reports) in [(40, 90.0..130.0, 22.0..=25.0), (120, 40.0..60.0, 9.0..=10.0)] {
        let mut a2 = Standby::new(paths, 20);
        a2.says("a1", true);
        a2.assert_runs(2000, probes, reports);
    }
    // A path that is to carry few probes still carries few.
    let mut a2 = Standby::new(1, 200);
    a2.says("a1", true);
    a2.assert_runs(4000, 17.0..30.0, 45.0..=50.0);
}
