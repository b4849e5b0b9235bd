//! One vote on who owns a site: a promise, at most to one engine at a time, with an epoch that only
//! ever increases. All that keeps two owners apart is in this file and in the lease arithmetic of
//! [`super`].

use dataplane::id::{Epoch, Nanos};

/// Leadership promised to one engine until a time on this voter's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    pub owner: String,
    pub epoch: Epoch,
    pub until: Nanos,
}

/// Why a vote is refused: the highest epoch promised so far and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub epoch: Epoch,
    pub owner: Option<String>,
}

/// One engine's vote for one site.
#[derive(Clone, Debug)]
pub(crate) struct Voter {
    started: Nanos,
    highest: Epoch,
    last: Option<Promise>,
}

impl Voter {
    /// `floor` is above every epoch that an earlier life of this voter can have promised.
    pub fn new(started: Nanos, floor: Epoch) -> Voter {
        Voter { started, highest: floor, last: None }
    }

    /// A promise made before a restart is forgotten but may still run: no vote before this.
    /// The tenth covers the clocks' difference in rate.
    pub fn silent_until(&self, lease: Nanos) -> Nanos {
        self.started.plus(Nanos(lease.0 + lease.0 / 10))
    }

    /// The promise that still runs.
    pub fn promise(&self, now: Nanos) -> Option<&Promise> {
        self.last.as_ref().filter(|p| now < p.until)
    }

    /// To whom the last promise was, running or not.
    pub fn last_owner(&self) -> Option<&str> {
        self.last.as_ref().map(|p| p.owner.as_str())
    }

    pub fn highest(&self) -> Epoch {
        self.highest
    }

    fn refusal(&self) -> Refusal {
        Refusal { epoch: self.highest, owner: self.last_owner().map(str::to_owned) }
    }

    /// `candidate` asks for `lease` of leadership at `epoch`.
    pub fn request(
        &mut self,
        now: Nanos,
        candidate: &str,
        epoch: Epoch,
        lease: Nanos,
    ) -> Result<(), Refusal> {
        let taken = self.promise(now).is_some_and(|p| p.owner != candidate);
        let known = self.last.as_ref().is_some_and(|p| p.owner == candidate && p.epoch == epoch);
        let stale = epoch < self.highest || (epoch == self.highest && !known);
        if now < self.silent_until(lease) || taken || stale {
            return Err(self.refusal());
        }
        self.highest = epoch;
        self.last = Some(Promise { owner: candidate.to_owned(), epoch, until: now.plus(lease) });
        Ok(())
    }

    /// The owner `from` gives its leadership to `to`, which may take `epoch` at once.
    pub fn transfer(&mut self, now: Nanos, from: &str, to: &str, epoch: Epoch, lease: Nanos) -> bool {
        let held_by_other = self.promise(now).is_some_and(|p| p.owner != from);
        if held_by_other || epoch <= self.highest {
            return false;
        }
        self.highest = epoch;
        self.last = Some(Promise { owner: to.to_owned(), epoch, until: now.plus(lease) });
        true
    }

    /// `owner` gives up what it was promised.
    pub fn release(&mut self, owner: &str) {
        if let Some(p) = &mut self.last
            && p.owner == owner
        {
            p.until = Nanos(0);
        }
    }

    /// `owner` owns the site at `epoch`: others promised it. Nobody else may have that epoch from here; the owner may, as soon as
    /// nothing else is promised.
    pub fn heard(&mut self, now: Nanos, owner: &str, epoch: Epoch) {
        let news = self.last.as_ref().is_none_or(|last| last.epoch < epoch);
        if epoch < self.highest || !news {
            return;
        }
        self.highest = epoch;
        let until = match self.promise(now) {
            Some(promise) if promise.owner != owner => return,
            Some(promise) => promise.until,
            None => Nanos(0),
        };
        self.last = Some(Promise { owner: owner.to_owned(), epoch, until });
    }

    /// A higher epoch than any promised here is known to exist.
    pub fn learn(&mut self, epoch: Epoch) {
        self.highest = self.highest.max(epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Nanos = Nanos::from_millis(1000);

    fn at(ms: u64) -> Nanos {
        Nanos::from_millis(ms)
    }

    fn voter() -> Voter {
        Voter::new(at(0), Epoch(10))
    }

    #[test]
    fn is_silent_after_a_start_and_then_promises_once() {
        let mut v = voter();
        assert!(v.request(at(1099), "a1", Epoch(11), LEASE).is_err());
        assert!(v.request(at(1100), "a1", Epoch(11), LEASE).is_ok());
        let refusal = v.request(at(1200), "a2", Epoch(12), LEASE).unwrap_err();
        assert_eq!(refusal, Refusal { epoch: Epoch(11), owner: Some("a1".into()) });
        assert!(v.request(at(2000), "a1", Epoch(11), LEASE).is_ok(), "renewal");
        assert!(v.request(at(2999), "a2", Epoch(12), LEASE).is_err(), "still promised");
        assert!(v.request(at(3000), "a2", Epoch(11), LEASE).is_err(), "epoch of another");
        assert!(v.request(at(3000), "a2", Epoch(12), LEASE).is_ok());
        assert!(v.request(at(9000), "a1", Epoch(11), LEASE).is_err(), "its epoch is over");
    }

    #[test]
    fn a_transfer_comes_from_the_owner_only_and_upwards_only() {
        let mut v = voter();
        v.request(at(2000), "a1", Epoch(11), LEASE).unwrap();
        assert!(!v.transfer(at(2100), "a2", "a2", Epoch(12), LEASE));
        assert!(!v.transfer(at(2100), "a1", "a2", Epoch(11), LEASE));
        assert!(v.transfer(at(2100), "a1", "a2", Epoch(12), LEASE));
        assert!(v.request(at(2110), "a1", Epoch(13), LEASE).is_err());
        assert!(v.request(at(2110), "a2", Epoch(12), LEASE).is_ok());
    }

    #[test]
    fn no_epoch_at_or_below_the_floor() {
        let mut v = voter();
        assert!(v.request(at(2000), "a1", Epoch(10), LEASE).is_err());
        v.learn(Epoch(20));
        assert!(v.request(at(2000), "a1", Epoch(20), LEASE).is_err());
        assert!(v.request(at(2000), "a1", Epoch(21), LEASE).is_ok());
    }

    #[test]
    fn what_others_promised_is_not_promised_again_to_anybody_else() {
        let mut v = voter();
        v.heard(at(100), "a1", Epoch(15));
        assert!(v.promise(at(101)).is_none(), "nothing is promised here");
        let refusal = v.request(at(2000), "a2", Epoch(15), LEASE).unwrap_err();
        assert_eq!(refusal, Refusal { epoch: Epoch(15), owner: Some("a1".into()) });
        assert!(v.request(at(2000), "a1", Epoch(15), LEASE).is_ok(), "its own epoch");
        v.heard(at(2100), "a2", Epoch(16));
        assert!(v.request(at(2200), "a2", Epoch(16), LEASE).is_err(), "promised to a1 still");
        assert!(v.request(at(2200), "a1", Epoch(15), LEASE).is_err(), "and over");
        v.heard(at(3100), "a2", Epoch(16));
        assert!(v.request(at(3100), "a2", Epoch(16), LEASE).is_ok());
        v.heard(at(3200), "a1", Epoch(12));
        assert!(v.highest() == Epoch(16) && v.promise(at(3200)).is_some_and(|p| p.owner == "a2"));
    }

    #[test]
    fn a_release_frees_the_vote_but_not_the_epoch() {
        let mut v = voter();
        v.request(at(2000), "a1", Epoch(11), LEASE).unwrap();
        v.release("a2");
        assert!(v.promise(at(2001)).is_some());
        v.release("a1");
        assert!(v.request(at(2001), "a2", Epoch(11), LEASE).is_err());
        assert!(v.request(at(2001), "a2", Epoch(12), LEASE).is_ok());
    }
}
