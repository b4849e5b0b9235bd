//! Which configured tunnel carries what goes to a far engine, and when another one takes over.

use super::choice::{self, Candidate};
use super::{Action, Adaptive, Move, Reason, Scene};
use dataplane::id::{Nanos, TunnelId};

/// A tunnel that has never been up may take so long to come.
const COMING: Nanos = Nanos::from_millis(10_000);
/// A better tunnel must be so for this many times `confirm`.
const BETTER: u32 = 10;
/// The other path must be less likely to fail by this much …
const FAILURE_MARGIN: f32 = 0.2;
/// … and lose no more than this beyond what this one loses.
const LOSS_MARGIN: f32 = 0.01;

impl Adaptive {
    /// Which configured tunnel carries what goes to `peer`.
    pub(super) fn choose(&mut self, scene: &Scene<'_>, peer: &str, moves: &mut Vec<Move>) {
        let configured = self.config.tunnels.iter().filter(|t| t.parallel_to.is_none());
        let configured = configured.filter(|t| self.peers[&t.tunnel] == peer).map(|t| t.tunnel);
        let candidates: Vec<Candidate> = configured.filter_map(|t| self.candidate(t, scene.views)).collect();
        let policy = self.config.policy;
        let Some(far) = self.far.get_mut(peer) else { return };
        let Some(current) = candidates.iter().find(|c| c.known.tunnel == far.chosen) else { return };
        let Some((best, why)) = choice::best(&candidates, &policy, far.chosen) else { return };
        let inputs = |to: TunnelId| {
            let of = candidates.iter().filter(|c| [current.known.tunnel, to].contains(&c.known.tunnel));
            of.map(|c| (format!("tunnel {}", c.known.tunnel), c.describe())).collect::<Vec<_>>()
        };
        let from = far.chosen;
        // At the start tunnels come up one after the other, and the first to come is not the best for it.
        let since = *far.since.get_or_insert(scene.now);
        let was_up = scene.views.get(&from).is_some_and(|view| view.was_up);
        let coming = !was_up && scene.now.since(since) < COMING;
        let unusable = match current.up {
            true => current.forbidden(&policy),
            false if coming => return,
            false => Some("it is down"),
        };
        if let Some(reason) = unusable {
            // Only observed, it would be said with every sample.
            if self.config.act || self.gate.left(scene.now, &self.config, true).is_ok() {
                let rule = format!("{reason}; {why}");
                let action = Action::Migrate { from, to: best, forced: true };
                moves.push(Move { action, rule, inputs: inputs(best) });
            }
            return;
        }
        // A path that is said to fail, and one that is up, allowed, and not.
        let fails = current.failure > self.config.failure;
        far.failing = if fails { far.failing.saturating_add(1) } else { 0 };
        let safer = |c: &&Candidate| {
            c.up && c.forbidden(&policy).is_none()
                && c.failure <= current.failure - FAILURE_MARGIN
                && c.loss <= current.loss + LOSS_MARGIN
        };
        let safest = candidates.iter().filter(safer).min_by(|a, b| a.failure.total_cmp(&b.failure));
        far.better = match far.better {
            _ if best == from => (from, 0),
            (to, many) if to == best => (to, many.saturating_add(1)),
            _ => (best, 1),
        };
        let (to, rule) = if far.failing >= self.config.confirm
            && let Some(safest) = safest
        {
            let limit = self.config.failure;
            (safest.known.tunnel, format!("P(failure) > {limit:.2} for {} samples", self.config.confirm))
        } else if far.better.1 >= BETTER * self.config.confirm {
            (best, format!("{why} for {} samples", far.better.1))
        } else {
            return;
        };
        let inputs = inputs(to);
        self.prepare(scene, peer, (from, to), (rule, inputs), moves);
    }

    /// Migrates once the other tunnel, with what is made beside it, can carry what this one does.
    fn prepare(
        &mut self,
        scene: &Scene<'_>,
        peer: &str,
        (from, to): (TunnelId, TunnelId),
        (rule, inputs): Reason,
        moves: &mut Vec<Move>,
    ) {
        if self.gate.left(scene.now, &self.config, true).is_err() {
            return;
        }
        let demand = self.demand(scene, peer, to);
        let lacks = demand.capacity.is_some_and(|there| demand.needed_now(&self.config) > there);
        if !lacks {
            moves.push(Move { action: Action::Migrate { from, to, forced: false }, rule, inputs });
        } else if demand.coming == 0.0 {
            let wanted = demand.needed_now(&self.config);
            let rule = format!("{rule}: room is made there first");
            self.grow(scene, to, (&demand, wanted), (rule, inputs), moves);
        }
    }
}
