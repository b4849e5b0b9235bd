//! How good a path is, from probes sent inside the tunnel: STAMP (RFC 8762) with Poisson spacing and a
//! stateful reflector (RFC 8972 §4.7), which tells the two directions' losses apart.

use crate::config::ProbeConfig;
use crate::io::Output;
use crate::peers::Quality;
use crate::rng::SplitMix;
use dataplane::id::{Nanos, TunnelId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The window over which loss and quantiles are taken.
const WINDOW: Nanos = Nanos::from_millis(1000);
/// A probe is lost no earlier than this after it was sent.
const TIMEOUT_MIN: Nanos = Nanos::from_millis(100);
/// Replies in a row before a path is up.
const UP_AFTER: u32 = 5;
/// Probes in a row without a reply before a path is down.
const DOWN_AFTER: u32 = 5;
/// A reflector that counts back by more than this has restarted; less is reordering.
const REORDER: u32 = 64;

/// A path's quality over the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PathStats {
    /// Probes come back.
    pub up: bool,
    /// Round trip, smoothed (1/8).
    pub rtt: Nanos,
    /// Smallest round trip in the window.
    pub rtt_min: Nanos,
    /// 95th percentile of the round trips in the window.
    pub rtt_p95: Nanos,
    /// Smoothed difference of successive round trips, as RFC 3550 §6.4.1 smooths.
    pub jitter: Nanos,
    /// Share of probes lost in either direction, 0–1.
    pub loss: f32,
    /// Share lost on the way out.
    pub loss_tx: f32,
    /// Share lost on the way back.
    pub loss_rx: f32,
    /// Probes sent since the last reply, as many as were at the configured spacing.
    pub consecutive_lost: u32,
    /// Probes sent since start.
    pub sent: u64,
    /// Probes that came back since start.
    pub received: u64,
}

/// What became of a probe.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Reply { reflector_sequence: u32, rtt: Nanos },
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct Resolved {
    at: Nanos,
    fate: Fate,
}

/// The measurement of one path.
#[derive(Debug)]
pub(crate) struct PathHealth {
    tunnel: TunnelId,
    config: ProbeConfig,
    rng: SplitMix,
    /// Or else it is taken to be up.
    probed: bool,
    probing: bool,
    next_probe: Nanos,
    sequence: u32,
    /// Sent, neither answered nor given up; by sequence.
    outstanding: BTreeMap<u32, Nanos>,
    /// Resolved within the window; by sequence.
    window: BTreeMap<u32, Resolved>,
    last_reply: Nanos,
    last_rtt: Nanos,
    /// The spacings of the probes sent since the last reply, together.
    unanswered: Nanos,
    streak: u32,
    ever_up: bool,
    stats: PathStats,
}

impl PathHealth {
    pub fn new(tunnel: TunnelId, config: ProbeConfig, probed: bool, rng: SplitMix) -> PathHealth {
        PathHealth {
            tunnel,
            config,
            rng,
            probed,
            probing: false,
            next_probe: Nanos(0),
            sequence: 0,
            outstanding: BTreeMap::new(),
            window: BTreeMap::new(),
            last_reply: Nanos(0),
            last_rtt: Nanos(0),
            unanswered: Nanos(0),
            streak: 0,
            ever_up: false,
            stats: PathStats::default(),
        }
    }

    pub fn up(&self) -> bool {
        self.stats.up
    }

    pub fn ever_up(&self) -> bool {
        self.ever_up
    }

    pub fn probing(&self) -> bool {
        self.probing
    }

    pub fn start(&mut self, now: Nanos) {
        if !self.probing {
            self.probing = true;
            self.next_probe = now;
            if !self.probed {
                (self.stats.up, self.ever_up) = (true, true);
            }
        }
    }

    /// The far end has gone or is new: what was measured no longer counts.
    pub fn reset(&mut self) {
        self.probing = false;
        self.outstanding.clear();
        self.window.clear();
        self.streak = 0;
        self.stats.up = false;
    }

    /// The number of the last probe.
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Another process has measured the path until now, and found it up. Before the first poll.
    pub fn resume(&mut self, sequence: u32) {
        (self.probing, self.sequence) = (true, sequence);
        (self.stats.up, self.ever_up) = (true, true);
        self.streak = UP_AFTER;
    }

    /// The tunnel is no more; the next one of its number begins anew.
    pub fn forget(&mut self) {
        self.reset();
        self.ever_up = false;
        self.stats = PathStats::default();
        self.unanswered = Nanos(0);
    }

    /// Our own thread stood still for `gap`: nothing was sent and nothing could be read, so no
    /// deadline ran.
    pub fn forgive(&mut self, gap: Nanos) {
        self.last_reply = self.last_reply.plus(gap);
        for sent in self.outstanding.values_mut() {
            *sent = sent.plus(gap);
        }
    }

    pub fn reply(&mut self, now: Nanos, sequence: u32, reflector_sequence: u32, rtt: Nanos) {
        let late = matches!(self.window.get(&sequence), Some(Resolved { fate: Fate::Lost, .. }));
        if self.outstanding.remove(&sequence).is_none() && !late {
            return; // a duplicate, or from before a reset
        }
        self.drop_if_reflector_restarted(sequence, reflector_sequence);
        self.window.insert(sequence, Resolved { at: now, fate: Fate::Reply { reflector_sequence, rtt } });
        self.smooth(rtt);
        self.last_reply = now;
        self.stats.received += 1;
        self.stats.consecutive_lost = 0;
        self.unanswered = Nanos(0);
        self.streak += 1;
        if self.streak >= UP_AFTER {
            self.stats.up = true;
            self.ever_up = true;
        }
    }

    fn drop_if_reflector_restarted(&mut self, sequence: u32, reflected: u32) {
        let newest = self.window.iter().rev().find_map(|(s, r)| match r.fate {
            Fate::Reply { reflector_sequence, .. } => Some((*s, reflector_sequence)),
            Fate::Lost => None,
        });
        if let Some((s, r)) = newest
            && sequence > s
            && reflected.saturating_add(REORDER) < r
        {
            self.window.clear();
        }
    }

    fn smooth(&mut self, rtt: Nanos) {
        let s = &mut self.stats;
        let previous = std::mem::replace(&mut self.last_rtt, rtt);
        if s.received == 0 {
            s.rtt = rtt;
            return;
        }
        let difference = rtt.0.abs_diff(previous.0);
        s.jitter = Nanos(s.jitter.0 - s.jitter.0 / 16 + difference / 16);
        s.rtt = Nanos(s.rtt.0 - s.rtt.0 / 8 + rtt.0 / 8);
    }

    /// Judges overdue probes and sends the next one, `spacing` apart in the mean. Call after all queued replies were fed.
    pub fn poll(&mut self, now: Nanos, spacing: Nanos, out: &mut Vec<Output>) {
        if !self.probed {
            return;
        }
        self.give_up_overdue(now);
        self.window.retain(|_, r| now.since(r.at) <= WINDOW);
        let silent = now.since(self.last_reply) >= self.config.detect;
        if self.stats.up && silent && self.stats.consecutive_lost >= DOWN_AFTER {
            self.stats.up = false;
            self.streak = 0;
        }
        if self.probing && now >= self.next_probe {
            self.send(now, spacing, out);
        }
    }

    fn give_up_overdue(&mut self, now: Nanos) {
        let timeout = Nanos(TIMEOUT_MIN.0.max(4 * self.stats.rtt.0));
        while let Some((&sequence, &sent)) = self.outstanding.first_key_value() {
            if now.since(sent) < timeout {
                break;
            }
            self.outstanding.pop_first();
            self.window.insert(sequence, Resolved { at: now, fate: Fate::Lost });
            self.streak = 0;
        }
    }

    fn send(&mut self, now: Nanos, spacing: Nanos, out: &mut Vec<Output>) {
        self.next_probe = now.plus(self.rng.exponential(spacing));
        self.sequence = self.sequence.wrapping_add(1);
        if self.sequence == 0 {
            self.outstanding.clear();
            self.window.clear();
        }
        self.outstanding.insert(self.sequence, now);
        self.stats.sent += 1;
        self.unanswered = self.unanswered.plus(spacing);
        self.stats.consecutive_lost = (self.unanswered.0 / self.config.interval_mean.0.max(1)) as u32;
        out.push(Output::SendProbe { tunnel: self.tunnel, sequence: self.sequence });
    }

    pub fn stats(&self) -> PathStats {
        let mut rtts: Vec<Nanos> = self
            .window
            .values()
            .filter_map(|r| match r.fate {
                Fate::Reply { rtt, .. } => Some(rtt),
                Fate::Lost => None,
            })
            .collect();
        rtts.sort_unstable();
        let (loss, loss_tx, loss_rx) = self.losses();
        PathStats {
            rtt_min: rtts.first().copied().unwrap_or(self.stats.rtt),
            rtt_p95: rtts.get(rtts.len() * 95 / 100).copied().unwrap_or(self.stats.rtt),
            loss,
            loss_tx,
            loss_rx,
            ..self.stats
        }
    }

    /// What decisions need of it.
    pub fn quality(&self) -> Quality {
        let (_, loss_tx, loss_rx) = self.losses();
        Quality { up: self.stats.up, rtt_us: self.stats.rtt.0 as f32 / 1000.0, loss: loss_tx.max(loss_rx) }
    }

    /// Loss together, out and back. Between the first and the last reply of the window the reflector's
    /// count splits the losses exactly; what is lost after the last reply is charged to both.
    fn losses(&self) -> (f32, f32, f32) {
        let replies: Vec<(u32, u32)> = self
            .window
            .iter()
            .filter_map(|(s, r)| match r.fate {
                Fate::Reply { reflector_sequence, .. } => Some((*s, reflector_sequence)),
                Fate::Lost => None,
            })
            .collect();
        let lost = self.window.len() - replies.len();
        let all = share(lost, self.window.len());
        let (Some(&(first, reflected_first)), Some(&(last, reflected_last))) =
            (replies.first(), replies.last())
        else {
            return (all, all, all);
        };
        let between = self.window.range(first..=last).count() - replies.len();
        let tail = self.window.range(last..).count() - 1;
        let sent = (last - first) as usize;
        let reflected = reflected_last.wrapping_sub(reflected_first) as i32;
        let lost_tx = sent.saturating_sub(reflected.max(0) as usize).min(between);
        let judged = replies.len() - 1 + between;
        (all, share(lost_tx + tail, judged + tail), share(between - lost_tx + tail, judged - lost_tx + tail))
    }
}

fn share(part: usize, whole: usize) -> f32 {
    if whole == 0 { 0.0 } else { part as f32 / whole as f32 }
}

#[cfg(test)]
mod tests;
