//! How two engines agree that a tunnel is made, and that it goes: the states of one place for a parallel tunnel, at one end.
//!
//! Whoever wants it proposes; both make it when it is agreed, and either may begin to drain it. An end that has sent nothing more
//! into it says so, and with both ends' word it is taken down after a grace time for what is still under way. So nothing is
//! sent that the far end would not open. Both may propose or drain at once: the words cross and mean the same.

use crate::message::ParallelWord as Word;
use dataplane::id::Nanos;

/// An answer must come within this time, and what was made be up.
const PATIENCE: Nanos = Nanos::from_millis(10_000);
/// A made tunnel that was up may be down for this long.
const UNHEALTHY: Nanos = Nanos::from_millis(5_000);
/// What was sent before both ends fell silent has arrived by then.
const GRACE: Nanos = Nanos::from_millis(2_000);
/// Buckets have left a draining tunnel no earlier than this: they wait for a gap, or for a MARK.
const DRAIN_MIN: Nanos = Nanos::from_millis(500);
/// Samples in a row without a packet.
const QUIET: u32 = 3;
/// What did not come about is not tried again for so long.
const BARRED: Nanos = Nanos::from_millis(60_000);
/// A far end that does not answer for so long has nothing to say.
const FAR_SILENT: Nanos = Nanos::from_millis(30_000);

/// Where a place for a parallel tunnel is in its tunnel's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    #[default]
    Absent,
    /// The far end was asked.
    Proposed { since: Nanos },
    /// Both ends have it: its SAs are negotiated, its probes sent, and once they return it carries traffic.
    Made { since: Nanos, was_up: bool, down_since: Option<Nanos> },
    /// Nothing new goes into it.
    Draining { since: Nanos, quiet: u32, idle_here: bool, idle_there: bool },
    /// Nobody sends any more.
    Leaving { until: Nanos },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Tell the far end.
    Say(Word),
    /// Negotiate its SAs and probe it.
    Make,
    /// Forget its SAs and measurements.
    Unmake,
    /// It did not come about, or had to go: for the decisions.
    Failed(String),
}

/// One place.
#[derive(Debug, Default)]
pub struct Spare {
    pub phase: Phase,
    /// This end wants it; the far end's own need is its affair.
    pub ours: bool,
    /// It did not come about: it is not tried again before then.
    barred_until: Nanos,
}

impl Spare {
    /// The tunnel exists at this end.
    pub fn is_made(&self) -> bool {
        matches!(self.phase, Phase::Made { .. } | Phase::Draining { .. } | Phase::Leaving { .. })
    }

    /// Its far end opens what is sent into it.
    pub fn is_usable(&self) -> bool {
        matches!(self.phase, Phase::Made { .. } | Phase::Draining { .. })
    }

    /// It may be proposed.
    pub fn is_free(&self, now: Nanos) -> bool {
        self.phase == Phase::Absent && now >= self.barred_until
    }

    fn failed(&mut self, now: Nanos, why: String) -> Step {
        self.barred_until = now.plus(BARRED);
        Step::Failed(why)
    }

    /// It may carry traffic once it is up.
    pub fn may_carry(&self) -> bool {
        matches!(self.phase, Phase::Made { .. })
    }

    /// It has carried traffic.
    pub fn has_come(&self) -> bool {
        matches!(self.phase, Phase::Made { was_up: true, .. })
    }

    /// It is wanted and does not carry yet.
    pub fn is_coming(&self, up: bool) -> bool {
        match self.phase {
            Phase::Proposed { .. } => true,
            Phase::Made { was_up, .. } => !up && !was_up,
            _ => false,
        }
    }

    fn made(now: Nanos) -> Phase {
        Phase::Made { since: now, was_up: false, down_since: None }
    }

    pub fn propose(&mut self, now: Nanos) -> Vec<Step> {
        if self.phase != Phase::Absent {
            return Vec::new();
        }
        (self.phase, self.ours) = (Phase::Proposed { since: now }, true);
        vec![Step::Say(Word::Propose)]
    }

    pub fn drain(&mut self, now: Nanos) -> Vec<Step> {
        if !self.may_carry() {
            return Vec::new();
        }
        self.phase = Phase::Draining { since: now, quiet: 0, idle_here: false, idle_there: false };
        vec![Step::Say(Word::Drain)]
    }

    /// The far end says. `welcome`: why a proposed one could not be had; `needed`: why this one cannot be missed.
    pub fn hear(
        &mut self,
        now: Nanos,
        word: &Word,
        welcome: Result<(), String>,
        needed: Option<String>,
    ) -> Vec<Step> {
        let say = |word| vec![Step::Say(word)];
        match (word, self.phase) {
            (Word::Propose, Phase::Absent) => match welcome {
                Err(reason) => say(Word::Refuse { reason }),
                Ok(()) => {
                    (self.phase, self.ours) = (Spare::made(now), false);
                    vec![Step::Say(Word::Accept), Step::Make]
                }
            },
            // The words have crossed, or it asks once more after the connection was lost.
            (Word::Propose, Phase::Proposed { .. }) => {
                self.phase = Spare::made(now);
                vec![Step::Say(Word::Accept), Step::Make]
            }
            (Word::Propose, Phase::Made { .. }) => say(Word::Accept),
            (Word::Propose, _) => say(Word::Refuse { reason: "it is being given up here".to_owned() }),
            (Word::Accept, Phase::Proposed { .. }) => {
                self.phase = Spare::made(now);
                vec![Step::Make]
            }
            (Word::Refuse { reason }, Phase::Proposed { .. }) => {
                self.phase = Phase::Absent;
                vec![self.failed(now, format!("the far end refuses: {reason}"))]
            }
            // It started anew and will not have it.
            (Word::Refuse { reason }, Phase::Made { .. }) => {
                self.phase = Phase::Absent;
                vec![Step::Unmake, self.failed(now, format!("the far end has it no more: {reason}"))]
            }
            // It has it because we asked: who else would give it up?
            (Word::Accept, Phase::Made { .. }) => {
                self.ours = true;
                Vec::new()
            }
            (Word::Drain, Phase::Made { .. }) => match needed {
                Some(reason) => {
                    self.ours = true;
                    say(Word::Keep { reason })
                }
                None => {
                    self.phase =
                        Phase::Draining { since: now, quiet: 0, idle_here: false, idle_there: false };
                    Vec::new()
                }
            },
            (Word::Drain, Phase::Absent | Phase::Leaving { .. }) => say(Word::Idle),
            (Word::Keep { .. }, Phase::Draining { .. }) => {
                self.ours = false;
                self.phase = Phase::Made { since: now, was_up: true, down_since: None };
                Vec::new()
            }
            (Word::Idle, Phase::Draining { since, quiet, idle_here, .. }) => {
                self.phase = Phase::Draining { since, quiet, idle_here, idle_there: true };
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// The far end can be talked to again, and may know nothing of it.
    pub fn again(&mut self) -> Vec<Step> {
        match self.phase {
            Phase::Proposed { .. } | Phase::Made { .. } => vec![Step::Say(Word::Propose)],
            Phase::Draining { idle_here, .. } => {
                let idle = idle_here.then_some(Step::Say(Word::Idle));
                [Step::Say(Word::Drain)].into_iter().chain(idle).collect()
            }
            Phase::Absent | Phase::Leaving { .. } => Vec::new(),
        }
    }

    /// A sample: whether the tunnel is up, and whether this end has sent anything into it.
    pub fn watch(&mut self, now: Nanos, up: bool, sent: bool) -> Vec<Step> {
        match &mut self.phase {
            Phase::Absent => Vec::new(),
            Phase::Proposed { since } if now.since(*since) >= PATIENCE => {
                self.phase = Phase::Absent;
                vec![self.failed(now, "the far end does not answer".to_owned())]
            }
            Phase::Made { since, was_up: false, .. } if !up && now.since(*since) >= PATIENCE => {
                let mut steps = self.drain(now);
                steps.push(self.failed(now, "it did not come up".to_owned()));
                steps
            }
            Phase::Made { was_up, down_since, .. } => {
                *was_up |= up;
                match down_since {
                    _ if up => *down_since = None,
                    None => *down_since = Some(now),
                    Some(since) if *was_up && now.since(*since) >= UNHEALTHY => {
                        let mut steps = self.drain(now);
                        steps.push(self.failed(now, "it is down".to_owned()));
                        return steps;
                    }
                    Some(_) => {}
                }
                Vec::new()
            }
            Phase::Draining { since, quiet, idle_here, idle_there } => {
                *quiet = if sent { 0 } else { quiet.saturating_add(1) };
                let mut steps = Vec::new();
                if !*idle_here && *quiet >= QUIET && now.since(*since) >= DRAIN_MIN {
                    *idle_here = true;
                    steps.push(Step::Say(Word::Idle));
                }
                *idle_there |= now.since(*since) >= FAR_SILENT;
                if *idle_here && *idle_there && *quiet >= QUIET {
                    self.phase = Phase::Leaving { until: now.plus(GRACE) };
                }
                steps
            }
            Phase::Leaving { until } if now >= *until => {
                (self.phase, self.ours) = (Phase::Absent, false);
                vec![Step::Unmake]
            }
            Phase::Proposed { .. } | Phase::Leaving { .. } => Vec::new(),
        }
    }
}
