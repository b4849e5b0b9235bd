use super::*;
use crate::config::{GroupConfig, Member, MemberKind, Protocol, Spread, TunnelConfig};
use crate::io::{Input, Output};
use crate::message::{Message, SaParameters};
use dataplane::id::{GroupId, Nanos, Spi, TunnelId};
use dataplane::sa::Algorithm;

const T: TunnelId = TunnelId(0);
const PARAMETERS: SaParameters = SaParameters { algorithm: Algorithm::Aes256Gcm, esn: true };

fn config(remote: &str) -> ControllerConfig {
    let endpoints = Endpoints::new("192.0.2.1".parse().unwrap(), remote.parse().unwrap());
    let rekey_after = Nanos::from_millis(3_600_000);
    let tunnel = TunnelConfig {
        id: T,
        name: "a1-b1".into(),
        peer: "b1".into(),
        endpoints,
        protocol: Protocol::Esp { rekey_after, parameters: PARAMETERS, senders: 1 },
    };
    let group = GroupConfig {
        id: GroupId(0),
        name: "site-b".into(),
        site: "b".into(),
        members: vec![Member { tunnel: T, kind: MemberKind::Own }],
        spread: Spread::default(),
        adaptive: None,
    };
    ControllerConfig { tunnels: vec![tunnel], groups: vec![group], ..ControllerConfig::alone("a1", "a") }
}

/// A controller, its time and all that it has asked for.
struct Driven {
    controller: Controller,
    now: Nanos,
    out: Vec<Output>,
}

impl Driven {
    fn new(controller: Controller, start_ms: u64) -> Driven {
        Driven { controller, now: Nanos::from_millis(start_ms), out: Vec::new() }
    }

    fn feed(&mut self, input: Option<Input>) {
        self.controller.step(self.now, input, &mut self.out);
    }

    fn says(&mut self, message: Message) {
        self.feed(Some(Input::Message { peer: "b1".into(), message }));
    }

    fn offered(&self) -> Vec<(u64, Vec<Spi>)> {
        let offers = self.out.iter().filter_map(|output| match output {
            Output::InstallInbound { generation, spis, .. } => Some((*generation, spis.clone())),
            _ => None,
        });
        offers.collect()
    }

    fn up(&self) -> Option<bool> {
        self.out.iter().rev().find_map(|output| match output {
            Output::Tunnel { up, .. } => Some(*up),
            _ => None,
        })
    }

    /// Lets time run; probes come home.
    fn run(&mut self, ms: u64) -> Vec<u32> {
        let mut sent = Vec::new();
        for _ in 0..ms {
            self.now = self.now.plus(Nanos::from_millis(1));
            let before = self.out.len();
            self.feed(None);
            let probes: Vec<u32> = self.out[before..]
                .iter()
                .filter_map(|output| match output {
                    Output::SendProbe { sequence, .. } => Some(*sequence),
                    _ => None,
                })
                .collect();
            for &sequence in &probes {
                let rtt = Nanos::from_millis(1);
                self.feed(Some(Input::ProbeReply { tunnel: T, sequence, reflector_sequence: sequence, rtt }));
            }
            sent.extend(probes);
        }
        sent
    }
}

/// One whose only tunnel is up, and the SPIs that it has given out.
fn up() -> (Driven, Vec<Spi>) {
    let mut old = Driven::new(Controller::new(config("198.51.100.1")), 10);
    let theirs = config("198.51.100.1").tunnels[0].endpoints.turned();
    old.feed(None);
    old.feed(Some(Input::PeerUp { peer: "b1".into() }));
    let (generation, spis) = old.offered().remove(0);
    old.feed(Some(Input::InboundInstalled { tunnel: T, generation }));
    old.says(Message::SaInUse { tunnel: theirs, generation });
    let offer = vec![Spi(5000)];
    old.says(Message::SaOffer { tunnel: theirs, generation: 1, spis: offer, parameters: PARAMETERS });
    old.feed(Some(Input::OutboundInstalled { tunnel: T, generation: 1 }));
    old.run(500);
    assert_eq!(old.up(), Some(true));
    (old, spis)
}

#[test]
fn nothing_changes_for_the_workers_and_no_number_is_used_again() {
    let (old, spis) = up();
    let text = serde_json::to_string(&old.controller.state()).unwrap();
    let state: ControllerState = serde_json::from_str(&text).unwrap();
    assert_eq!(state, old.controller.state());
    let epoch = old.controller.ha.epoch();

    let mut new = Driven::new(Controller::resumed(config("198.51.100.1"), &state), 3000);
    new.feed(None);
    assert_eq!(new.up(), Some(true), "at once");
    let role = new.out.iter().find_map(|output| match output {
        Output::Role { owner, epoch } => Some((*owner, *epoch)),
        _ => None,
    });
    assert!(role.is_some_and(|(owner, of)| owner && of > epoch), "{role:?} after {epoch}");
    let last = state.tunnels["a1-b1"].sequence;
    assert!(new.run(1000).iter().all(|sequence| *sequence > last));
    assert_eq!((new.up(), new.offered()), (Some(true), vec![]));

    new.feed(Some(Input::PeerUp { peer: "b1".into() }));
    let (generation, fresh) = new.offered().remove(0);
    assert_eq!(generation, 2);
    assert!(fresh.iter().all(|spi| !spis.contains(spi)));
}

#[test]
fn a_path_that_is_dead_is_found_dead() {
    let (old, _) = up();
    let mut new = Driven::new(Controller::resumed(config("198.51.100.1"), &old.controller.state()), 3000);
    for _ in 0..1000 {
        new.now = new.now.plus(Nanos::from_millis(1));
        new.feed(None);
    }
    assert_eq!(new.up(), Some(false));
}

#[test]
fn a_tunnel_that_leads_elsewhere_begins_anew() {
    let (old, _) = up();
    let mut new = Driven::new(Controller::resumed(config("198.51.100.9"), &old.controller.state()), 3000);
    new.feed(None);
    assert_eq!(new.up(), Some(false));
}
