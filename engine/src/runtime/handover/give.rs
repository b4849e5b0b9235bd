//! The process that runs gives its place to the one that is ready. All of it happens in the control loop, which does nothing else
//! meanwhile; the workers run until their state is taken.

use super::line::{self, Frame};
use super::listen::Successor;
use crate::runtime::engine::Engine;
use crate::runtime::workers::Ended;
use anyhow::{Context as _, Result, bail, ensure};
use control::handover::{Give, Giver, ToGiver, Word};
use dataplane::telemetry::Counters;
use dpdk::Intake;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// For an answer that needs no work.
const ANSWER: Duration = Duration::from_secs(2);
/// For the state to be read and put in its place.
const HOLDING: Duration = Duration::from_secs(10);
/// For packets that wait for a neighbour, a fragment or a MARK: nobody is told of them.
const WAITING: Duration = Duration::from_millis(30);
/// Longer than the kernel takes to give a frame to all sockets of an interface.
const SETTLE: Duration = Duration::from_millis(1);
/// Polls that take all that a socket's ring may hold, a burst each.
const RING_POLLS: u64 = 128;
/// For the workers to finish what they have between them.
const FINISH: Duration = Duration::from_millis(100);

impl Engine {
    /// Gives this process's place to `successor`. False: it goes on itself, as if nothing had been.
    pub fn give_to(&mut self, successor: Successor) -> bool {
        let Successor { line, ports } = successor;
        tracing::info!(?ports, "a process is ready to follow this one");
        let mut giving = Giving { line, since: Instant::now(), why: String::new() };
        let (mut giver, mut event) = (Giver::Serving, ToGiver::Ready(ports));
        loop {
            let (next, act) = giver.step(event);
            giver = next;
            let done = match act {
                Some(Give::Open) => self.open(&mut giving).map(|()| ToGiver::Listening),
                Some(Give::Stop) => self.stop_and_send(&mut giving).map(|()| ToGiver::Holding),
                Some(Give::Yield) => Ok(giving.say_yours()),
                Some(Give::GoOn) => {
                    self.go_on(&mut giving);
                    return false;
                }
                Some(Give::End) => {
                    tracing::info!(ms = giving.since.elapsed().as_millis() as u64, "another process goes on");
                    // Its static SAs wait for these.
                    self.static_sas = Default::default();
                    return true;
                }
                None => return giver == Giver::Given,
            };
            event = done.unwrap_or_else(|error| {
                giving.why = format!("{error:#}");
                ToGiver::Lost
            });
        }
    }

    fn open(&mut self, giving: &mut Giving) -> Result<()> {
        self.devices.iter().for_each(|device| device.set_intake(Intake::Noted));
        self.await_polls().context("the workers do not poll")?;
        line::say(&mut giving.line, &Word::Open)?;
        giving.expect(&Word::Listening, ANSWER)?;
        self.await_drained().context("the workers do not poll")
    }

    /// Until each worker has begun a poll after now, and ended it: none is still at one that it began before.
    fn await_polls(&self) -> Result<()> {
        self.await_workers(|counters| counters.polls.get(), 2)
    }

    /// Until each worker has taken what had arrived before now: the other process does not have it.
    fn await_drained(&self) -> Result<()> {
        // What the kernel has at hand at this moment is in its ring by then.
        std::thread::sleep(SETTLE);
        let idle_polls = |counters: &Counters| {
            let polls = counters.polls.get();
            let idle = polls - counters.busy_polls.get().min(polls);
            // Under load no poll may be idle: then so many that no ring holds more.
            idle + polls / RING_POLLS
        };
        // Of four, one may have begun before, one may be counted as busy yet, and one may be a step of the rings'.
        self.await_workers(idle_polls, 4)
    }

    fn await_workers(&self, count: impl Fn(&Counters) -> u64, more: u64) -> Result<()> {
        let (before, since): (Vec<u64>, _) = (self.workers.counters().map(&count).collect(), Instant::now());
        while self.workers.counters().map(&count).zip(&before).any(|(now, before)| now < before + more) {
            ensure!(since.elapsed() < ANSWER, "{} ms have passed", ANSWER.as_millis());
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    fn stop_and_send(&mut self, giving: &mut Giving) -> Result<()> {
        giving.since = Instant::now();
        giving.line.set_write_timeout(Some(HOLDING)).context("the line")?;
        // What arrives from here on stays where it is: for the other process, or for this one if it goes on after all.
        self.devices.iter().for_each(|device| device.set_intake(Intake::Closed));
        self.workers.park().context("the workers do not stop")?;
        finish(self.workers.parked());
        self.take_events();
        let states: Vec<_> = self.workers.parked().iter().map(|worker| worker.state()).collect();
        let stopped = giving.since.elapsed();
        let mut flows = 0;
        for (number, worker) in (0..).zip(self.workers.parked()) {
            flows += line::write_flows(&mut giving.line, number, worker.sessions())?;
        }
        line::write_state(&mut giving.line, &self.state(&states))?;
        let sent = giving.since.elapsed();
        giving.expect(&Word::Holding, HOLDING)?;
        let us = |time: Duration| time.as_micros() as u64;
        let held = giving.since.elapsed();
        tracing::info!(
            flows,
            stopped_us = us(stopped),
            sent_us = us(sent),
            held_us = us(held),
            "state given"
        );
        Ok(())
    }

    fn go_on(&mut self, giving: &mut Giving) {
        tracing::warn!("this process goes on itself: {}", giving.why);
        let reason = std::mem::take(&mut giving.why);
        let _ = line::say(&mut giving.line, &Word::Kept { reason });
        self.devices.iter().for_each(|device| device.set_intake(Intake::Plain));
        if let Err(error) = self.workers.launch() {
            tracing::error!("the workers do not start again: {error:#}");
        }
    }
}

/// Workers that are parked finish what they hand to each other, and what waits for tokens; what waits for something else gets a
/// moment. No queue is polled.
fn finish(workers: &mut [Ended]) {
    let since = Instant::now();
    loop {
        let polled: usize = workers.iter_mut().map(|worker| worker.poll()).sum();
        let waiting: u64 = workers.iter().map(|worker| worker.waiting()).sum();
        let patience = if polled > 0 { FINISH } else { WAITING };
        if polled == 0 && waiting == 0 || since.elapsed() > patience {
            break;
        }
        if polled == 0 {
            workers.iter_mut().for_each(|worker| worker.release_waiting());
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    let waiting: u64 = workers.iter().map(|worker| worker.waiting()).sum();
    if waiting > 0 {
        tracing::warn!(waiting, "packets that wait for neighbours or fragments end with this process");
    }
}

/// One attempt.
struct Giving {
    line: UnixStream,
    since: Instant,
    why: String,
}

impl Giving {
    fn expect(&mut self, word: &Word, within: Duration) -> Result<()> {
        self.line.set_read_timeout(Some(within)).context("the line")?;
        match line::read(&mut self.line)? {
            Some(Frame::Word(said)) if said == *word => Ok(()),
            Some(Frame::Word(said)) => bail!("{said:?} in place of {word:?}"),
            Some(_) => bail!("no word, in place of {word:?}"),
            None => bail!("the process that was to follow is gone"),
        }
    }

    /// The one word that nothing takes back. It is short, and goes whole or not at all.
    fn say_yours(&mut self) -> ToGiver {
        match line::word(&Word::Yours).map(|yours| self.line.write_all(&yours)) {
            Ok(Ok(())) => ToGiver::Written,
            Ok(Err(error)) => {
                self.why = error.to_string();
                ToGiver::Unwritten
            }
            Err(error) => {
                self.why = error.to_string();
                ToGiver::Unwritten
            }
        }
    }
}
