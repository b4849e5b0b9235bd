//! Who owns the *far* sites, as seen from here, and which of their engines must not be listened to.
//!
//! An engine that lost its site to another without handing it over may be paused, cut off, or not yet
//! know. Until it says itself that it knows the new epoch, what its tunnels deliver is refused.

use crate::message::Share;
use dataplane::id::{Epoch, Nanos};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One far site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SiteView {
    epoch: Epoch,
    owner: Option<String>,
    version: u64,
    shares: Vec<Share>,
    /// How long busy buckets may take to move to what `shares` says, if the owner is in a hurry (ms).
    #[serde(default)]
    within_ms: Option<u64>,
    /// A handover announced by the owner: at this epoch, to this engine.
    handover: Option<(Epoch, String)>,
    /// Engines that must acknowledge an epoch before they are listened to again.
    fences: BTreeMap<String, Epoch>,
}

impl SiteView {
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// How the site wants its traffic split; empty until it has said so.
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// How long busy buckets may take to move, where the site's owner has said so.
    pub fn move_within(&self) -> Option<Nanos> {
        self.within_ms.map(Nanos::from_millis)
    }

    pub fn is_fenced(&self, engine: &str) -> bool {
        self.fences.contains_key(engine)
    }

    /// `from` says that it knows `epoch` and who owns the site at it.
    pub fn hello(&mut self, from: &str, epoch: Epoch, owner: Option<&str>) {
        if self.fences.get(from).is_some_and(|fenced| epoch >= *fenced) {
            self.fences.remove(from);
        }
        if let Some(owner) = owner {
            self.owned(from, epoch, owner);
        }
    }

    /// The owner announced that `to` may take `epoch`.
    pub fn handover(&mut self, from: &str, epoch: Epoch, to: &str) {
        if self.owner.as_deref() == Some(from) && epoch > self.epoch {
            self.handover = Some((epoch, to.to_owned()));
        }
    }

    /// Shares set by `from`, which owns the site at `epoch`. False if that is over or older than what is
    /// known.
    pub fn set_shares(&mut self, from: &str, epoch: Epoch, version: u64, shares: &[Share]) -> bool {
        let other = self.owner.as_deref().is_some_and(|owner| owner != from);
        let stale = epoch < self.epoch || (epoch == self.epoch && (other || version < self.version));
        if stale {
            return false;
        }
        self.owned(from, epoch, from);
        self.version = version;
        self.shares = shares.to_vec();
        self.within_ms = None;
        true
    }

    /// The shares that were set last are to be there within this time.
    pub fn hurry(&mut self, within_ms: Option<u64>) {
        self.within_ms = within_ms;
    }

    fn owned(&mut self, from: &str, epoch: Epoch, owner: &str) {
        if epoch < self.epoch || (epoch == self.epoch && self.owner.is_some()) {
            return;
        }
        let planned = self.handover.as_ref().is_some_and(|(e, to)| *e == epoch && to == owner);
        if let Some(old) = self.owner.take()
            && old != owner
        {
            // Until the new owner says otherwise it takes everything.
            self.shares.clear();
            self.within_ms = None;
            if old != from && !planned {
                self.fences.insert(old, epoch);
            }
        }
        if epoch > self.epoch {
            self.version = 0;
            self.handover = None;
        }
        self.fences.remove(owner);
        self.epoch = epoch;
        self.owner = Some(owner.to_owned());
    }

    /// The engine stops; the split it asked for ends with it.
    pub fn goodbye(&mut self, engine: &str) {
        if self.owner.as_deref() == Some(engine) {
            self.shares.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(engine: &str) -> Vec<Share> {
        vec![Share { engine: engine.into(), buckets: 65_536 }]
    }

    #[test]
    fn a_takeover_fences_the_old_owner_until_it_acknowledges() {
        let mut view = SiteView::default();
        assert!(view.set_shares("a1", Epoch(5), 1, &all("a1")));
        assert!(view.set_shares("a2", Epoch(6), 1, &all("a2")));
        assert!(view.is_fenced("a1") && !view.is_fenced("a2"));
        assert!(!view.set_shares("a1", Epoch(5), 9, &all("a1")), "its epoch is over");
        view.hello("a1", Epoch(5), Some("a1"));
        assert!(view.is_fenced("a1") && view.owner() == Some("a2"));
        view.hello("a1", Epoch(6), Some("a2"));
        assert!(!view.is_fenced("a1"));
    }

    #[test]
    fn a_handover_fences_nobody() {
        let mut view = SiteView::default();
        view.set_shares("a1", Epoch(5), 1, &all("a1"));
        view.handover("a1", Epoch(6), "a2");
        view.hello("a2", Epoch(6), Some("a2"));
        assert!(!view.is_fenced("a1") && view.owner() == Some("a2"));
        assert!(view.set_shares("a2", Epoch(6), 1, &all("a2")));
        view.handover("a1", Epoch(7), "a1");
        view.hello("a1", Epoch(7), Some("a1"));
        assert!(view.is_fenced("a2"), "only the owner can hand over");
    }

    #[test]
    fn versions_only_rise_within_an_epoch() {
        let mut view = SiteView::default();
        assert!(view.set_shares("a1", Epoch(5), 3, &all("a1")));
        assert!(!view.set_shares("a1", Epoch(5), 2, &all("a2")));
        assert!(view.set_shares("a1", Epoch(5), 3, &all("a1")), "a repeat is acknowledged again");
        assert!(!view.set_shares("a2", Epoch(5), 4, &all("a2")), "one owner an epoch");
        assert!(view.set_shares("a1", Epoch(6), 1, &all("a1")), "a raised epoch counts anew");
        assert!(!view.is_fenced("a1"));
    }
}
