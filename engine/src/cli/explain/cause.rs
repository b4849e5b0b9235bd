//! From what drove a decision to what probably is wrong, and to what an operator could change.

use crate::api::status::Decision;
use control::decision::Outcome;
use predictor::Metric;

/// What the inputs of a decision name what drove the model by.
pub const DRIVER: &str = "driver ";

/// What "drove the model" in a rehearsal.
const REHEARSAL: &str = "rehearsal";

/// What is probably wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A path to a far site.
    Path,
    /// Too little of its CPU.
    Cpu,
    /// Its memory.
    Memory,
    /// Its packet buffers.
    Buffers,
    /// A port, or what it is connected to.
    Port,
    /// What the walk does with packets.
    Walk,
    /// Its tables, which treat packets otherwise than the active's.
    Tables,
    /// The other engine fell silent, and nothing foretold it.
    SuddenDeath,
    /// The other engine fell silent after it, or this one, had been in alarm.
    ForetoldDeath,
    /// An application, or the way to it from one engine.
    Application,
    /// A person, or the end of a process.
    Wanted,
    /// Nothing that is known.
    Unknown,
}

impl Cause {
    /// Of a decision; `before` is the one that an alarm led to not long before.
    pub fn of(decision: &Decision, before: Option<&Decision>) -> Cause {
        if decision.action.starts_with("takeover") {
            return if before.is_some() { Cause::ForetoldDeath } else { Cause::SuddenDeath };
        }
        if decision.rule.contains("check ") || decision.action.starts_with("check ") {
            return Cause::Application;
        }
        let wanted = ["operator", "approved", "this engine ends", "a person", "handed over by"];
        let rehearsed = decision.inputs.iter().any(|(name, _)| name.strip_prefix(DRIVER) == Some(REHEARSAL));
        if rehearsed || wanted.iter().any(|word| decision.rule.contains(word)) {
            return Cause::Wanted;
        }
        Cause::strongest(decision).unwrap_or(Cause::Unknown)
    }

    /// The one that most of what drove the model speaks for.
    fn strongest(decision: &Decision) -> Option<Cause> {
        let mut weights: Vec<(Cause, f64)> = Vec::new();
        for (name, value) in &decision.inputs {
            let metric = name.strip_prefix(DRIVER).and_then(Metric::from_name);
            let (Some(metric), Ok(weight)) = (metric, value.parse::<f64>()) else { continue };
            let Some(cause) = Cause::of_metric(metric) else { continue };
            match weights.iter_mut().find(|(known, _)| *known == cause) {
                Some((_, sum)) => *sum += weight.max(0.0),
                None => weights.push((cause, weight.max(0.0))),
            }
        }
        weights
            .into_iter()
            .filter(|(_, sum)| *sum > 0.0)
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(cause, _)| cause)
    }

    fn of_metric(metric: Metric) -> Option<Cause> {
        use Metric as M;
        Some(match metric {
            M::PathRttUs | M::PathRttUsP95 | M::PathJitterUs | M::PathLossTx | M::PathLossRx => Cause::Path,
            M::ProbeTimeoutsInARow => Cause::Path,
            M::BusyShare | M::PollGapUsMax | M::ControlLateUs | M::CpuThrottled => Cause::Cpu,
            M::MemoryUsed => Cause::Memory,
            M::MempoolUsed => Cause::Buffers,
            M::PortErrorsPs | M::PortMissedPs | M::LinkUp => Cause::Port,
            M::DropPps => Cause::Walk,
            M::MirrorDiverged => Cause::Tables,
            // How much there is to do, and how long it took: that says nothing of why.
            _ => return None,
        })
    }

    /// In words.
    pub fn told(self) -> String {
        match self {
            Cause::Path => "the path to the far site: loss or delay in the underlay, or its far end",
            Cause::Cpu => "the CPU: the workers or the control core do not get theirs",
            Cause::Memory => "memory: this process nears its limit",
            Cause::Buffers => "packet buffers: something keeps them",
            Cause::Port => "a port: errors, or packets that it missed",
            Cause::Walk => "packets that the walk drops",
            Cause::Tables => "tables unlike the other engine's: mirrored packets are treated otherwise here",
            Cause::SuddenDeath => {
                "a sudden death, or a cut between the engines: no alarm of either was seen before"
            }
            Cause::ForetoldDeath => "a death that was foretold",
            Cause::Application => "an application, or the way to it from one of the engines",
            Cause::Wanted => "nothing wrong: somebody wanted it",
            Cause::Unknown => "",
        }
        .to_owned()
    }

    /// What an operator could look at and change; empty where nothing is to be said.
    pub fn proposal<'a>(self, decision: &Decision, after: impl Iterator<Item = &'a Decision>) -> String {
        let undone = after.into_iter().any(|later| later.outcome == Outcome::RolledBack);
        let held = decision.action.starts_with("hold") || decision.outcome == Outcome::Observed;
        let text = match self {
            _ if decision.rule.contains("budget") => {
                "prediction.moves_max allows no more moves now: look why so many were needed before you raise it"
            }
            _ if undone && self != Cause::Application => {
                "it was undone: mend the target's path first (foreshift show tunnels on the other engine)"
            }
            _ if held && decision.rule.starts_with("probability") => {
                "prediction.mode = \"auto\" would have moved the traffic then; \"approve\" asks you first"
            }
            Cause::Path => {
                "look at the path (foreshift show tunnels); a second tunnel over another way, with spread = \"first\", would take it"
            }
            Cause::Cpu => {
                "give the workers cores of their own (dpdk.cores, isolcpus), or raise the CPU quota"
            }
            Cause::Memory => {
                "see who grows (foreshift show status); restart this engine while the other one carries the site"
            }
            Cause::Buffers => {
                "see foreshift show drops and the pools there; raise dpdk.mbufs if the load is real"
            }
            Cause::Port => "see foreshift show ports; check cable, transceiver and the far port's rate",
            Cause::Walk => "see foreshift show drops: each reason names its cause",
            Cause::Tables => {
                "see the examples of foreshift show mirror; routes and access lists that both engines shall have belong in [site]"
            }
            Cause::SuddenDeath => {
                "record this engine's and the other's telemetry (telemetry.record) so that the model can learn it; a shorter \
                 ha.lease_ms shortens what is lost"
            }
            Cause::ForetoldDeath => {
                "the move did not come in time: lower prediction.threshold, or set prediction.mode = \"auto\""
            }
            Cause::Application => {
                "see foreshift show checks: where it fails at one engine alone, look at that one's routes and access list \
                 (foreshift trace, foreshift show mirror); drain --overrule moves all the same"
            }
            Cause::Wanted | Cause::Unknown => "",
        };
        text.to_owned()
    }
}
