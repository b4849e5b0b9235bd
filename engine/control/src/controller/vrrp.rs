//! The election of the gateway on its link, where other makers' routers stand too ([`crate::vrrp`]).

#[cfg(test)]
mod tests;

use super::Controller;
use crate::config::VrrpConfig;
use crate::decision::Outcome;
use crate::io::{Mode, Output};
use crate::status::VirtualRouterStatus;
use crate::vrrp::{Act, Heard, Parameters, VirtualRouter, VrrpState};
use dataplane::context::Version;
use dataplane::id::Nanos;
use std::net::IpAddr;

/// So long without a way to any far site, and the gateway is better elsewhere.
const CUT_OFF: Nanos = Nanos::from_millis(1000);

/// The virtual routers of the gateway's link, one an IP version.
#[derive(Debug)]
pub(super) struct Elections {
    config: VrrpConfig,
    routers: Vec<VirtualRouter>,
    started: bool,
    /// The priority in use, and why it is not the configured one.
    priority: u8,
}

impl Elections {
    pub fn new(config: VrrpConfig, fenced: bool) -> Elections {
        let one = |local: IpAddr| {
            VirtualRouter::new(Parameters {
                version: if local.is_ipv4() { Version::V4 } else { Version::V6 },
                local,
                priority: config.priority,
                interval: config.interval,
                preempt: config.preempt,
                fenced,
            })
        };
        let routers = config.local.iter().copied().map(one).collect();
        Elections { routers, started: false, priority: config.priority, config }
    }
}

impl Elections {
    /// Another process of this engine was the gateway until now, by these addresses.
    pub fn resume(&mut self, active: &[IpAddr]) {
        let was = |router: &&mut VirtualRouter| active.contains(&router.parameters().local);
        self.routers.iter_mut().filter(was).for_each(VirtualRouter::resume);
    }
}

impl Controller {
    /// Another router of the gateway's link has advertised.
    pub(super) fn advertised(&mut self, heard: Heard, out: &mut Vec<Output>) {
        let Some(elections) = &mut self.elections else { return };
        let now = self.now;
        let priority = elections.priority;
        let mut acts = Vec::new();
        let same = |router: &&mut VirtualRouter| router.parameters().local.is_ipv4() == heard.from.is_ipv4();
        let Some(router) = elections.routers.iter_mut().find(same) else { return };
        router.receive(now, heard, priority, &mut acts);
        let parameters = *router.parameters();
        self.carry_out_election(&parameters, &acts, out);
    }

    /// Stands while this engine owns the site; after its role was published.
    pub(super) fn elect(&mut self, out: &mut Vec<Output>) {
        if self.elections.is_none() {
            return;
        }
        let failing = self.failing();
        self.weigh(failing, out);
        let (now, stands) = (self.now, self.ha.is_owner() && !self.stopped);
        let Some(elections) = &mut self.elections else { return };
        if !elections.started {
            elections.started = true;
            elections.routers.iter_mut().for_each(|router| router.start(now));
        }
        let priority = stands.then_some(elections.priority);
        self.each_router(|router, acts| router.poll(now, priority, acts), out);
    }

    /// Lets every router take a step, and carries out what it asks for.
    fn each_router(&mut self, step: impl Fn(&mut VirtualRouter, &mut Vec<Act>), out: &mut Vec<Output>) {
        let Some(elections) = &mut self.elections else { return };
        let one = |router: &mut VirtualRouter| {
            let mut acts = Vec::new();
            step(router, &mut acts);
            (*router.parameters(), acts)
        };
        let all: Vec<(Parameters, Vec<Act>)> = elections.routers.iter_mut().map(one).collect();
        for (parameters, acts) in all {
            self.carry_out_election(&parameters, &acts, out);
        }
    }

    /// Why this engine had better not be the gateway, if another router can.
    fn failing(&self) -> Option<&'static str> {
        let alarm = self.failure.raised_at().is_some() && self.failure.config().mode == Mode::Auto;
        let cut_off = |since: &Nanos| self.now.since(*since) >= CUT_OFF;
        let groups = self.config.groups.len();
        if groups > 0 && self.down_since.values().filter(|since| cut_off(since)).count() == groups {
            Some("no way to any far site")
        } else {
            alarm.then_some("this engine is about to fail")
        }
    }

    fn weigh(&mut self, failing: Option<&'static str>, out: &mut Vec<Output>) {
        let Some(elections) = &mut self.elections else { return };
        let usual = elections.config.priority;
        let priority = failing.and(elections.config.failing_priority).unwrap_or(usual);
        let before = std::mem::replace(&mut elections.priority, priority);
        if before != priority {
            let rule = failing.unwrap_or("this engine is well again").to_owned();
            let mut inputs = self.failure.inputs();
            inputs.push(("groups without a way".to_owned(), self.down_since.len().to_string()));
            self.decide(format!("VRRP priority {before} -> {priority}"), rule, inputs, Outcome::Done, out);
        }
    }

    /// This engine ends, and nobody follows it but the routers that listen.
    pub(super) fn leave_elections(&mut self, out: &mut Vec<Output>) {
        self.each_router(VirtualRouter::leave, out);
    }

    fn carry_out_election(&mut self, parameters: &Parameters, acts: &[Act], out: &mut Vec<Output>) {
        let Parameters { version, local, interval, .. } = *parameters;
        for act in acts {
            match *act {
                Act::Advertise(priority) => {
                    out.push(Output::Advertise { from: local, priority, interval });
                }
                Act::Active(active) => {
                    out.push(Output::Gateway { version, active });
                    if active {
                        self.ha.schedule_announcements(self.now);
                    }
                    let action = if active { "gateway taken" } else { "gateway left" };
                    let (rule, inputs) = self.why_elected(version, active);
                    self.decide(format!("{action} ({version:?})"), rule, inputs, Outcome::Done, out);
                }
            }
        }
    }

    fn why_elected(&self, version: Version, active: bool) -> (String, Vec<(String, String)>) {
        let elections = self.elections.as_ref();
        let router = elections
            .and_then(|all| all.routers.iter().find(|router| router.parameters().version == version));
        let ours = elections.map_or(0, |elections| elections.priority);
        let mut inputs = vec![("priority".to_owned(), ours.to_string())];
        let other = router.and_then(VirtualRouter::other);
        if let Some(other) = other {
            inputs.push(("other router".to_owned(), other.from.to_string()));
            inputs.push(("its priority".to_owned(), other.priority.to_string()));
        }
        let rule = match (active, other) {
            (true, _) => "VRRP: no other router of this priority or a higher one is heard",
            (false, Some(_)) if router.is_some_and(|router| router.state() == VrrpState::Backup) => {
                "VRRP: another router stands before this one"
            }
            (false, _) => "VRRP: this engine no longer stands",
        };
        (rule.to_owned(), inputs)
    }

    /// The virtual routers, for people.
    pub fn virtual_routers(&self) -> Vec<VirtualRouterStatus> {
        let Some(elections) = &self.elections else { return Vec::new() };
        let status = |router: &VirtualRouter| VirtualRouterStatus {
            local: router.parameters().local,
            state: router.state(),
            priority: elections.priority,
            other: router.other().map(|heard| (heard.from, heard.priority)),
        };
        elections.routers.iter().map(status).collect()
    }
}
