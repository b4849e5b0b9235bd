//! More capacity where there is, or will be, too little; less where there is far too much.

use super::demand::Demand;
use super::gate::Hold;
use super::{Action, Adaptive, Move, Phase, Reason, Scene};
use crate::config::AdaptiveTunnel;
use crate::io::TunnelTraffic;
use dataplane::id::{Nanos, TunnelId};

impl Adaptive {
    /// What goes to `peer`, beside what `base` and its parallel tunnels let through.
    pub(super) fn demand(&self, scene: &Scene<'_>, peer: &str, base: TunnelId) -> Demand {
        let up = |t: TunnelId| scene.views.get(&t).is_some_and(|view| view.up);
        let load: f64 = self
            .latest
            .values()
            .filter(|t| self.peers.get(&t.tunnel).is_some_and(|p| p == peer))
            .map(|t| t.sent_bps)
            .sum();
        let part = if scene.total > 0.0 { load / scene.total } else { 1.0 / self.far.len() as f64 };
        let carriers: Vec<TunnelTraffic> =
            self.family(base).filter(|t| up(*t)).filter_map(|t| self.latest.get(&t)).copied().collect();
        let coming = self
            .config
            .tunnels
            .iter()
            .filter(|t| t.parallel_to == Some(base) && self.spares[&t.tunnel].is_coming(up(t.tunnel)));
        let coming = coming.filter_map(|t| self.rate(t.tunnel)).sum::<u64>() as f64;
        let ahead = self.forecast.map(|(load, at)| (load * part, at));
        Demand::new(load, ahead, &carriers, coming)
    }

    /// What a tunnel's shaper lets through, or will.
    pub(super) fn rate(&self, tunnel: TunnelId) -> Option<u64> {
        let latest = self.latest.get(&tunnel).and_then(|t| t.rate_bps);
        latest.or_else(|| self.known(tunnel)?.rate.map(|rate| rate.configured))
    }

    /// More capacity where there is too little, less where there is far too much.
    pub(super) fn follow(&mut self, scene: &Scene<'_>, peer: &str, moves: &mut Vec<Move>) {
        let Some(chosen) = self.far.get(peer).map(|far| far.chosen) else { return };
        let demand = self.demand(scene, peer, chosen);
        let wants = demand.wants(&self.config);
        let Some(far) = self.far.get_mut(peer) else { return };
        far.high = if wants.is_some() { far.high.saturating_add(1) } else { 0 };
        if let Some((wanted, forecast)) = wants {
            far.low_since = None;
            if far.high < self.config.confirm {
                return;
            }
            let share = self.config.utilisation;
            let rule = match (forecast, demand.ahead) {
                (true, Some((_, at))) => {
                    format!("forecast: within {} ms utilisation > {share:.2}", at.as_millis())
                }
                _ => format!("utilisation > {share:.2} for {} samples", self.config.confirm),
            };
            let inputs = self.inputs(&demand);
            self.grow(scene, chosen, (&demand, wanted), (rule, inputs), moves);
        } else {
            self.shrink(scene.now, peer, chosen, &demand, moves);
        }
    }

    fn inputs(&self, demand: &Demand) -> Vec<(String, String)> {
        let kbps = |bps: f64| format!("{:.0} kbit/s", bps / 1000.0);
        let mut inputs = vec![
            ("offered".to_owned(), kbps(demand.load)),
            ("capacity".to_owned(), demand.capacity.map_or("unbounded".to_owned(), kbps)),
            ("coming".to_owned(), kbps(demand.coming)),
            ("utilisation".to_owned(), format!("{:.2}", demand.utilisation().unwrap_or(0.0))),
            ("skew".to_owned(), format!("{:.2}", demand.skew)),
        ];
        if let Some((load, at)) = demand.ahead {
            let text = format!("95 % below {} in {} ms", kbps(load), at.as_millis());
            inputs.push(("forecast".to_owned(), text));
        }
        inputs
    }

    /// Shapers up to their ceilings, then tunnels, until there is `wanted`.
    pub(super) fn grow(
        &mut self,
        scene: &Scene<'_>,
        base: TunnelId,
        (demand, wanted): (&Demand, f64),
        (rule, inputs): Reason,
        moves: &mut Vec<Move>,
    ) {
        let now = scene.now;
        let mut left = match self.gate.left(now, &self.config, true) {
            Ok(left) => left,
            Err(Hold::Budget) => {
                let rule = format!("{rule}; the budget of actions is used up");
                return self.hold(now, Hold::Budget, rule, inputs, moves);
            }
            Err(_) => return,
        };
        let said = |action| Move { action, rule: rule.clone(), inputs: inputs.clone() };
        let mut there = demand.capacity.unwrap_or(0.0) + demand.coming;
        // Rates go up in few steps: to where the load is between what asks for more and what asks for less.
        let between = (self.config.utilisation + self.config.release) / 2.0;
        let factor = wanted * self.config.utilisation / between / there.max(1.0);
        let family: Vec<TunnelId> = self.family(base).collect();
        let before = moves.len();
        for tunnel in family {
            let (Some(from), Some(range)) = (self.rate(tunnel), self.known(tunnel).and_then(|t| t.rate))
            else {
                continue;
            };
            let to = ((from as f64 * factor).ceil() as u64).min(range.ceiling);
            if to > from && left > 0 {
                moves.push(said(Action::Rate { tunnel, from, to }));
                there += (to - from) as f64;
                left -= 1;
            }
        }
        let able = scene.views.get(&base).is_some_and(|view| view.able);
        let configured = self.config.tunnels.len() - self.spares.len();
        let mut many = configured + self.spares.values().filter(|s| s.phase != Phase::Absent).count();
        let free = self.config.tunnels.iter().filter(|t| t.parallel_to == Some(base));
        let free = free.filter(|t| self.spares[&t.tunnel].is_free(now)).map(|t| t.tunnel);
        for tunnel in free {
            if there >= wanted || left == 0 || many >= self.config.tunnels_max || !able {
                break;
            }
            moves.push(said(Action::Create(tunnel)));
            there += self.rate(tunnel).unwrap_or(0) as f64;
            (left, many) = (left - 1, many + 1);
        }
        if moves.len() == before {
            let (hold, why) = match able {
                false => (Hold::FarEnd, "the far engine cannot be asked"),
                true => (Hold::Bound, "there are as many tunnels, as fast, as there may be"),
            };
            self.hold(now, hold, format!("{rule}; {why}"), inputs, moves);
        }
    }

    /// The last tunnel that was made goes first, then rates come down; one thing at a time.
    fn shrink(&mut self, now: Nanos, peer: &str, chosen: TunnelId, demand: &Demand, moves: &mut Vec<Move>) {
        let less = self.less(peer, chosen, demand);
        let Some(far) = self.far.get_mut(peer) else { return };
        let Some(mut less) = less else {
            far.low_since = None;
            return;
        };
        let since = *far.low_since.get_or_insert(now);
        if now.since(since) < self.config.idle_after {
            return;
        }
        let Ok(left) = self.gate.left(now, &self.config, false) else { return };
        far.low_since = None;
        less.truncate(left);
        let share = self.config.release;
        let seconds = self.config.idle_after.as_millis() / 1000;
        let rule = format!("without it utilisation <= {share:.2}, for {seconds} s");
        let inputs = self.inputs(demand);
        moves.extend(less.into_iter().map(|action| Move {
            action,
            rule: rule.clone(),
            inputs: inputs.clone(),
        }));
    }

    /// What could be given up, if there is anything.
    fn less(&self, peer: &str, chosen: TunnelId, demand: &Demand) -> Option<Vec<Action>> {
        let ours = |t: &&AdaptiveTunnel| {
            let spare = self.spares.get(&t.tunnel);
            self.peers[&t.tunnel] == peer && spare.is_some_and(|spare| spare.ours && spare.may_carry())
        };
        let last = self.config.tunnels.iter().rev().find(ours).map(|t| t.tunnel);
        if let Some(tunnel) = last {
            let carries = self.base(tunnel) == chosen;
            let rate = if carries { self.rate(tunnel).unwrap_or(0) as f64 } else { 0.0 };
            // Without shapers nothing says how much is needed; there nothing is made either.
            let enough = demand.capacity.is_none_or(|all| demand.can_do_with(all - rate, &self.config));
            return enough.then_some(vec![Action::Drain(tunnel)]);
        }
        let lowered = |tunnel: TunnelId| {
            let (from, range) = (self.rate(tunnel)?, self.known(tunnel)?.rate?);
            (from > range.configured).then_some(Action::Rate { tunnel, from, to: range.configured })
        };
        let lower: Vec<Action> = self.family(chosen).filter_map(lowered).collect();
        let gone: u64 =
            lower.iter().map(|a| if let Action::Rate { from, to, .. } = a { from - to } else { 0 }).sum();
        let enough = demand.can_do_with(demand.capacity? - gone as f64, &self.config);
        (!lower.is_empty() && enough).then_some(lower)
    }
}
