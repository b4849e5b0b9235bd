//! What goes wrong, and random schedules of it.

use crate::cluster::Cluster;
use crate::network::Direction;
use crate::node::Predictor;
use crate::plane::WORKERS;
use crate::rng::Rng;
use crate::store::DELAY;
use crate::topology::ENGINES;
use control::io::{Input, OperatorCommand};
use dataplane::id::Nanos;

/// One thing that goes wrong, or right again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// kill -9.
    Kill(&'static str),
    /// A new life of a killed engine.
    Restart(&'static str),
    /// An engine's machine is set back to what it was so many milliseconds ago, its wall clock too. What was in memory is
    /// not run again, as the README demands: the engine starts anew.
    Restore(&'static str, u64),
    /// kill -STOP.
    Pause(&'static str),
    /// kill -CONT.
    Resume(&'static str),
    /// The workers hang; the control thread runs on.
    Hang(&'static str),
    /// The last worker hangs; the ring to it fills.
    HangOne(&'static str),
    /// And they go on.
    Unhang(&'static str),
    /// Nothing passes in this direction.
    Block(Direction),
    /// It does again.
    Unblock(Direction),
    /// Packets in this direction are lost with this probability.
    Loss(Direction, f64),
    /// Packets in this direction, of a tunnel, come twice with this probability.
    Duplicate(Direction, f64),
    /// Packets in this direction are overtaken with this probability.
    Reorder(Direction, f64),
    /// The direction fails and works in turn, each so many milliseconds; 0 ends it.
    Flap(Direction, u64),
    /// An engine has no buffers left, or has them again.
    Exhaust(&'static str, bool),
    /// TX rings of an engine are full, or empty again.
    Fill(&'static str, bool),
    /// The direction's delay, milliseconds.
    Delay(Direction, u64),
    /// What the model of an engine says from now on.
    Predict(&'static str, Predictor),
    /// An engine reaches the application behind the other site, or does not any more.
    Reach(&'static str, bool),
    /// A person drains an engine.
    Drain(&'static str),
    /// A person undrains an engine.
    Undrain(&'static str),
    /// A worker's SA nears its limit.
    SoftLimit(&'static str),
    /// The channel that brings the first engine's sessions to the second breaks.
    CutChannel(Direction),
    /// The partner sends a packet every so many milliseconds from now on.
    Pace(u64),
    /// The state store answers nobody, or does again.
    StoreOutage(bool),
    /// An engine does not reach the state store, or does again.
    StoreCut(&'static str, bool),
    /// What is asked of the state store is there after so many milliseconds, and the answer back after as many again.
    StoreSlow(u64),
    /// Watches of the state store lag so many milliseconds behind.
    StoreStale(u64),
    /// The state store forgets its history.
    StoreCompacts,
}

impl Fault {
    /// Something that a gateway is to bear without losing, reordering or duplicating a packet.
    fn is_planned(self) -> bool {
        let told =
            matches!(self, Fault::Predict(..) | Fault::Drain(_) | Fault::Undrain(_) | Fault::SoftLimit(_));
        told || self.is_of_store() || matches!(self, Fault::CutChannel(_) | Fault::Pace(_))
    }

    /// Of the state store, which is on no packet's path.
    fn is_of_store(self) -> bool {
        matches!(
            self,
            Fault::StoreOutage(_)
                | Fault::StoreCut(..)
                | Fault::StoreSlow(_)
                | Fault::StoreStale(_)
                | Fault::StoreCompacts
        )
    }
}

impl Cluster {
    /// Lets a fault happen now.
    pub fn apply(&mut self, fault: Fault) {
        let now = self.now;
        self.history.push((now, fault));
        self.checkers.planned.disturbed |= !fault.is_planned();
        match fault {
            Fault::Kill(name) => self.kill(name),
            Fault::Restart(name) => self.start(name, now),
            Fault::Restore(name, ms) => {
                self.kill(name);
                self.hang_up(name);
                self.start(name, Nanos(now.0.saturating_sub(Nanos::from_millis(ms).0)));
            }
            Fault::Pause(name) => self.node_mut(name).paused = Some(now),
            Fault::Resume(name) => {
                let node = self.node_mut(name);
                node.paused = None;
                node.next_tick = now;
            }
            Fault::Hang(name) => self.node_mut(name).hung = WORKERS,
            Fault::HangOne(name) => self.node_mut(name).hung = 1,
            Fault::Unhang(name) => self.node_mut(name).hung = 0,
            Fault::Block(way) => self.link_mut(way).blocked = true,
            Fault::Unblock(way) => self.link_mut(way).blocked = false,
            Fault::Loss(way, loss) => self.link_mut(way).loss = loss,
            Fault::Duplicate(way, share) => self.link_mut(way).duplicated = share,
            Fault::Reorder(way, share) => self.link_mut(way).reordered = share,
            Fault::Flap(way, ms) => {
                self.link_mut(way).flaps = (ms > 0).then_some(Nanos::from_millis(ms));
            }
            Fault::Exhaust(name, on) => {
                self.node_mut(name).plane.iter().for_each(|plane| plane.pool.exhaust(on));
            }
            Fault::Fill(name, on) => {
                self.checkers.orders.late |= on;
                self.node_mut(name).plane.iter().for_each(|plane| plane.fill_queues(on));
            }
            Fault::Delay(way, ms) => self.link_mut(way).delay = Nanos::from_millis(ms),
            Fault::Predict(name, predictor) => self.node_mut(name).predictor = predictor,
            Fault::Reach(name, reaches) => self.node_mut(name).reaches = reaches,
            Fault::Drain(name) => self.command(name, OperatorCommand::Drain { overrule: false }),
            Fault::Undrain(name) => self.command(name, OperatorCommand::Undrain),
            Fault::CutChannel(pair) => self.cut_channel(pair),
            Fault::Pace(ms) => self.partner.spacing = Nanos::from_millis(ms),
            Fault::SoftLimit(name) => {
                let input = Input::SaSoftLimit { tunnel: crate::topology::FIRST };
                self.node_mut(name).inbox.push_back(input.into());
            }
            _ => self.harm_store(fault),
        }
    }

    fn harm_store(&mut self, fault: Fault) {
        let (store, cut_off) = (&mut self.shared.store, &mut self.shared.cut_off);
        match fault {
            Fault::StoreOutage(down) => store.down = down,
            Fault::StoreCut(name, true) => drop(cut_off.insert(name)),
            Fault::StoreCut(name, false) => drop(cut_off.remove(name)),
            Fault::StoreSlow(ms) => store.delay = Nanos::from_millis(ms),
            Fault::StoreStale(ms) => store.stale = Nanos::from_millis(ms),
            Fault::StoreCompacts => store.compact(),
            _ => {}
        }
    }

    fn command(&mut self, name: &str, command: OperatorCommand) {
        self.node_mut(name).inbox.push_back(Input::Command { id: 0, command }.into());
    }

    /// The state store answers everybody.
    pub fn heal_store(&mut self) {
        self.apply(Fault::StoreOutage(false));
        self.apply(Fault::StoreSlow(DELAY.as_millis()));
        self.apply(Fault::StoreStale(0));
        ENGINES.iter().for_each(|name| self.apply(Fault::StoreCut(name, false)));
    }

    /// Everything that was broken works again.
    pub fn heal(&mut self) {
        for name in ENGINES {
            let node = &self.nodes[name];
            let (dead, paused, hung) = (node.controller.is_none(), node.paused.is_some(), node.hung > 0);
            if dead {
                self.apply(Fault::Restart(name));
            }
            if paused {
                self.apply(Fault::Resume(name));
            }
            if hung {
                self.apply(Fault::Unhang(name));
            }
            self.apply(Fault::Predict(name, Predictor::Constant(0.0)));
            self.apply(Fault::Exhaust(name, false));
            self.apply(Fault::Fill(name, false));
        }
        self.heal_store();
        let ways: Vec<Direction> = self.network.links.keys().copied().collect();
        for way in ways {
            *self.link_mut(way) = crate::network::Link::default();
        }
    }
}

/// An engine's machine is set back.
pub fn restored(cluster: &Cluster, rng: &mut Rng) -> Fault {
    let name = *rng.pick(&ENGINES);
    Fault::Restore(name, rng.below(cluster.now.as_millis() + 1))
}

/// A fault that is possible now.
pub fn random(cluster: &Cluster, rng: &mut Rng) -> Fault {
    let name = *rng.pick(&ENGINES);
    let other = *rng.pick(&ENGINES.iter().filter(|e| **e != name).copied().collect::<Vec<_>>());
    let (node, way) = (&cluster.nodes[name], (name, other));
    if node.controller.is_none() {
        return Fault::Restart(name);
    }
    if node.paused.is_some() {
        return Fault::Resume(name);
    }
    let link = &cluster.network.links[&way];
    let predictors = [
        Predictor::Constant(f32::NAN),
        Predictor::Constant(0.0),
        Predictor::Constant(1.0),
        Predictor::Constant(0.8),
        Predictor::Flapping(1 + rng.below(10)),
        Predictor::Flapping(40),
    ];
    match rng.below(22) {
        0 | 1 => Fault::Kill(name),
        2..=4 => Fault::Pause(name),
        5 => match node.hung {
            0 if rng.chance(0.5) => Fault::Hang(name),
            0 => Fault::HangOne(name),
            _ => Fault::Unhang(name),
        },
        6..=8 => match link.blocked {
            true => Fault::Unblock(way),
            false => Fault::Block(way),
        },
        9 => Fault::Loss(way, *rng.pick(&[0.0, 0.0, 0.02, 0.1, 0.5, 1.0])),
        10 => Fault::Delay(way, 1 + rng.below(80)),
        11..=13 => Fault::Predict(name, *rng.pick(&predictors)),
        14 => match rng.chance(0.5) {
            true => Fault::Drain(name),
            false => Fault::Undrain(name),
        },
        // Plain packets between the engines of a site have nothing that would tell a copy.
        15 | 16 if name == "b1" || other == "b1" => Fault::Duplicate(way, *rng.pick(&[0.0, 0.1, 0.5])),
        17 => Fault::Reorder(way, *rng.pick(&[0.0, 0.1, 0.5])),
        18 => Fault::Flap(way, *rng.pick(&[0, 5, 50, 400])),
        19 => Fault::Exhaust(name, rng.chance(0.5)),
        20 => Fault::Fill(name, rng.chance(0.5)),
        _ => Fault::SoftLimit(name),
    }
}

/// Something that happens to what site a's engines share: the channels between them, or the partner whose SA they have.
pub fn of_sessions(rng: &mut Rng) -> Fault {
    if rng.chance(0.5) {
        Fault::CutChannel(*rng.pick(&[("a1", "a2"), ("a2", "a1")]))
    } else {
        Fault::Pace(*rng.pick(&[1, 5, 20, 100, 1000, 1000]))
    }
}

/// Something that happens to the state store.
pub fn of_store(cluster: &Cluster, rng: &mut Rng) -> Fault {
    let (name, shared) = (*rng.pick(&ENGINES), &cluster.shared);
    match rng.below(6) {
        0 | 1 => Fault::StoreOutage(!shared.store.down),
        2 => Fault::StoreCut(name, !shared.cut_off.contains(name)),
        3 => Fault::StoreSlow(*rng.pick(&[2, 2, 40, 400, 700])),
        4 => Fault::StoreStale(*rng.pick(&[0, 0, 50, 1000, 4000])),
        _ => Fault::StoreCompacts,
    }
}

/// Something planned, which no packet is to notice.
pub fn planned(rng: &mut Rng) -> Fault {
    let (name, in_a) = (*rng.pick(&ENGINES), *rng.pick(&["a1", "a2"]));
    match rng.below(6) {
        0 => Fault::Drain(in_a),
        1 => Fault::Undrain(in_a),
        2 => Fault::SoftLimit(name),
        3 => Fault::Predict(name, Predictor::Flapping(1 + rng.below(20))),
        4 => Fault::Predict(name, Predictor::Constant(*rng.pick(&[0.8, 1.0]))),
        _ => Fault::Predict(name, Predictor::Constant(*rng.pick(&[0.0, f32::NAN]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healing_leaves_nothing_broken() {
        let mut cluster = Cluster::new(crate::Options::seed(1));
        cluster.run_ms(500);
        for fault in [Fault::Kill("a1"), Fault::Pause("a2"), Fault::Block(("a1", "b1"))] {
            cluster.apply(fault);
        }
        cluster.run_ms(10);
        cluster.heal();
        assert!(cluster.nodes.values().all(Node::runs));
        assert!(cluster.network.links.values().all(|l| !l.blocked));
    }

    use crate::node::Node;
}
