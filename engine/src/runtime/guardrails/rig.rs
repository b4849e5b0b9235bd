//! Four controllers that hear each other: a pair (a1 owns the site), its witness, and one more engine of the far site.

use control::Controller;
use control::config::{
    ControllerConfig, GroupConfig, HaConfig, InitialRole, Member, MemberKind, PredictionConfig, Protocol,
    TunnelConfig, WithoutWitness,
};
use control::io::{Assessment, Input, Mode, OperatorCommand, Output};
use control::message::{Endpoints, Message, TunnelKind};
use control::mirror::MirrorReport;
use dataplane::id::{GroupId, Nanos, TunnelId};
use predictor::recording::{Hearsay, Run};
use predictor::{Predictor, TelemetrySample, Vitals};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

pub const NAMES: [&str; 4] = ["a1", "a2", "b1", "b2"];
/// Between two steps of a controller, unless a longer time is asked for, and between two samples of telemetry.
const TICK: u64 = 5;
const SAMPLE: u64 = 100;
/// Time in which the engines find each other.
const SETTLE: u64 = 1500;

/// One interval of telemetry, and what the peers said before it.
#[derive(Clone, Debug)]
pub struct Step {
    pub sample: TelemetrySample,
    pub peers: Option<Vitals>,
}

/// A recording as steps.
pub fn steps(run: &Run) -> Vec<Step> {
    let mut peers = Hearsay::new(run);
    run.samples.iter().map(|sample| Step { sample: *sample, peers: peers.until(sample.at_ms) }).collect()
}

/// The engines.
pub struct Rig {
    engines: Vec<Controller>,
    inbox: Vec<VecDeque<Input>>,
    reflected: BTreeMap<(usize, TunnelId), u32>,
    now_ms: u64,
    /// Between two steps of a controller, milliseconds.
    pub tick: u64,
    /// Alarms that each engine has raised.
    pub alarms: [u64; NAMES.len()],
    /// From this sample on a1 and a2 do not hear each other.
    pub cut_off_at: Option<usize>,
    /// a2 and b1 alarm as well.
    pub others_alarm: bool,
    /// b1 and b2 alarm as well, the target does not.
    far_alarm: bool,
    pub busy: f32,
    pub busy_of_target: f32,
    /// Packets are mirrored to a2: whether it treats them otherwise.
    pub mirror_diverges: Option<bool>,
    /// a1's decisions, and their rules.
    pub actions: Vec<String>,
    pub rules: Vec<String>,
}

fn address(engine: usize) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, engine as u8 + 1).into()
}

/// The tunnel of `me` to `other` has the number of `other`.
fn config(me: usize, mode: Mode) -> ControllerConfig {
    let others = (0..NAMES.len()).filter(|other| *other != me);
    let same_site = |other: usize| NAMES[other][..1] == NAMES[me][..1];
    let tunnel = |other: usize| TunnelConfig {
        id: TunnelId(other as u16),
        name: format!("{}-{}", NAMES[me], NAMES[other]),
        peer: NAMES[other].to_owned(),
        endpoints: Endpoints {
            local: address(me),
            remote: address(other),
            kind: if same_site(other) { TunnelKind::Direct } else { TunnelKind::Gre },
            number: 0,
        },
        protocol: if same_site(other) {
            Protocol::Direct
        } else {
            Protocol::Fixed { probed: true, spi: None }
        },
    };
    let member = |other: usize| Member {
        tunnel: TunnelId(other as u16),
        kind: if same_site(other) { MemberKind::Direct } else { MemberKind::Own },
    };
    let ha = HaConfig {
        initial: if me == 0 { InitialRole::Active } else { InitialRole::Standby },
        peer: NAMES[1 - me.min(1)].to_owned(),
        witness: Some("b1".to_owned()),
        lease: Nanos::from_millis(400),
        without_witness: WithoutWitness::Hold,
        shares_config: false,
        failback: None,
    };
    let far = if me < 2 { "b" } else { "a" };
    ControllerConfig {
        engine: NAMES[me].to_owned(),
        site: NAMES[me][..1].to_owned(),
        tunnels: others.clone().map(tunnel).collect(),
        groups: vec![GroupConfig {
            id: GroupId(0),
            name: "far".to_owned(),
            site: far.to_owned(),
            members: others.map(member).collect(),
            spread: Default::default(),
            adaptive: None,
        }],
        ha: (me < 2).then_some(ha),
        vrrp: None,
        checks: Vec::new(),
        bfd: Vec::new(),
        cluster: None,
        votes_for: if NAMES[me] == "b1" { vec!["a".to_owned()] } else { Vec::new() },
        workers: 1,
        prediction: PredictionConfig { mode, ..PredictionConfig::default() },
        shift: Default::default(),
        probe: Default::default(),
        epoch_floor: 1,
        seed: me as u64 + 1,
    }
}

impl Rig {
    /// Settled: a1 owns site a.
    pub fn new(mode: Mode) -> Rig {
        let mut rig = Rig {
            engines: (0..NAMES.len()).map(|me| Controller::new(config(me, mode))).collect(),
            inbox: vec![VecDeque::new(); NAMES.len()],
            reflected: BTreeMap::new(),
            now_ms: 1000,
            tick: TICK,
            alarms: [0; NAMES.len()],
            cut_off_at: None,
            others_alarm: false,
            far_alarm: false,
            busy: f32::NAN,
            busy_of_target: f32::NAN,
            mirror_diverges: None,
            actions: Vec::new(),
            rules: Vec::new(),
        };
        for me in 0..NAMES.len() {
            for other in (0..NAMES.len()).filter(|other| *other != me) {
                rig.inbox[me].push_back(Input::PeerUp { peer: NAMES[other].to_owned() });
            }
        }
        rig.advance(SETTLE);
        assert!(rig.engines[0].role().owner, "a1 owns the site");
        rig.rules.clear();
        rig.actions.clear();
        rig
    }

    /// Far engines alarm, the target does not.
    pub fn fleet_alarms(&mut self) {
        self.far_alarm = true;
    }

    /// How far prediction may go.
    pub fn mode(&mut self, mode: Mode) {
        self.inbox[0].push_back(Input::Command { id: 0, command: OperatorCommand::SetMode { mode } });
    }

    /// What a1's owner did while the predictor watched `steps`.
    pub fn run(mut self, predictor: &mut Predictor, steps: &[Step]) -> Vec<String> {
        let mut done = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            if self.cut_off_at == Some(i) {
                for (me, other) in [(0, 1), (1, 0)] {
                    self.inbox[me].push_back(Input::PeerDown { peer: NAMES[other].to_owned() });
                }
            }
            step.peers.inspect(|peers| predictor.hear(peers));
            let said = predictor.push(&step.sample);
            let assessment = Assessment {
                probability: said.alarm.probability,
                drift: said.drift,
                horizon_ms: said.alarm.within_ms,
                alarm_from: predictor.model().description().alarm_from,
                ..self.assessment(0.0)
            };
            done.extend(self.interval(assessment, self.cut_off_at.is_some_and(|at| i >= at)));
        }
        done
    }

    /// The same of `samples` intervals in all of which a1's model says `probability`.
    pub fn told(&mut self, probability: f32, samples: usize) -> Vec<String> {
        (0..samples).flat_map(|_| self.interval(self.assessment(probability), false)).collect()
    }

    fn assessment(&self, probability: f32) -> Assessment {
        Assessment { probability, busy: self.busy, ..Assessment::default() }
    }

    fn interval(&mut self, assessment: Assessment, cut: bool) -> Vec<String> {
        let alarms = [false, self.others_alarm, self.far_alarm || self.others_alarm, self.far_alarm];
        let mut all = alarms.map(|alarms| self.assessment(if alarms { 0.97 } else { 0.0 }));
        all[0] = assessment;
        self.assessed(all, cut)
    }

    /// The same with the model's word on every engine.
    pub fn assessed(&mut self, all: [Assessment; NAMES.len()], cut: bool) -> Vec<String> {
        for (inbox, assessment) in self.inbox.iter_mut().zip(all) {
            inbox.push_back(Input::Assessment(assessment));
        }
        let busy = Some(self.busy_of_target);
        let message = Message::Vitals { z: Vec::new(), busy };
        self.inbox[0].push_front(Input::Message { peer: "a2".to_owned(), message });
        if let Some(diverges) = self.mirror_diverges {
            let alarm = diverges.then(|| "drops: 10.1.0.9 > 10.2.0.9".to_owned());
            let report = Box::new(MirrorReport { compared: 100, alarm, ..MirrorReport::default() });
            self.inbox[0].push_front(Input::Mirror { own: false, report });
        }
        let mut done = Vec::new();
        for _ in 0..SAMPLE / self.tick {
            self.now_ms += self.tick;
            done.extend(self.tick(cut));
        }
        done
    }

    fn advance(&mut self, ms: u64) {
        for _ in 0..ms / TICK {
            self.now_ms += TICK;
            self.tick(false);
        }
    }

    /// Every engine's step; what a1 did that moves traffic or ownership.
    fn tick(&mut self, cut: bool) -> Vec<String> {
        let now = Nanos::from_millis(self.now_ms);
        let mut done = Vec::new();
        for me in 0..NAMES.len() {
            let mut out = Vec::new();
            let waiting = std::mem::take(&mut self.inbox[me]);
            for input in waiting.into_iter().chain([Input::WorkersPolled(now)]) {
                self.engines[me].step(now, Some(input), &mut out);
            }
            self.engines[me].step(now, None, &mut out);
            for output in out {
                if me == 0 {
                    done.extend(moves_traffic(&output));
                }
                self.carry_out(me, output, cut);
            }
        }
        done
    }

    fn carry_out(&mut self, me: usize, output: Output, cut: bool) {
        match output {
            Output::Send { peer, message } => {
                let Some(other) = NAMES.iter().position(|name| *name == peer) else { return };
                // It is told to everybody.
                let raised = matches!(message, Message::Alarm { raised: true, .. });
                self.alarms[me] += u64::from(raised && other == usize::from(me == 0));
                if !(cut && me < 2 && other < 2) {
                    self.inbox[other].push_back(Input::Message { peer: NAMES[me].to_owned(), message });
                }
            }
            Output::SendProbe { tunnel, sequence } => {
                let reflected = self.reflected.entry((me, tunnel)).or_default();
                *reflected += 1;
                let (reflector_sequence, rtt) = (*reflected, Nanos(500_000));
                self.inbox[me].push_back(Input::ProbeReply { tunnel, sequence, reflector_sequence, rtt });
            }
            Output::Decision(decision) if me == 0 => {
                self.actions.push(decision.action);
                self.rules.push(decision.rule);
            }
            _ => {}
        }
    }
}

/// What an output does to traffic; alarms, decisions, reports and leases that go on do nothing.
fn moves_traffic(output: &Output) -> Option<String> {
    match output {
        Output::Role { .. } | Output::Weights { .. } => Some(format!("{output:?}")),
        Output::Send { message: Message::SetShares { .. } | Message::LeaseTransfer { .. }, .. } => {
            Some(format!("{output:?}"))
        }
        _ => None,
    }
}
