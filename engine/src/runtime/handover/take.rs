//! The process that follows: gets ready, asks, and goes on.

use super::line::{self, Frame};
use super::resume::{Inputs, Resumed, put_flows};
use super::state::EngineState;
use crate::plan::Plan;
use crate::runtime::boot::Base;
use anyhow::{Context as _, Result, bail};
use control::handover::{Ports, Take, Taker, ToTaker, Word};
use dataplane::shadow::FlowState;
use dpdk::TakenElsewhere;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Between two looks at the ports while nothing is said.
const LOOK: Duration = Duration::from_micros(200);
/// Frames that were read and wait to be looked at.
const FRAMES: usize = 8;

/// A process that lets this one follow it.
pub struct Offer {
    line: UnixStream,
    ports: Ports,
    inputs: Inputs,
}

/// What became of the process before this one.
pub enum Before {
    /// It has given what it had, and all of that is in its place.
    Resumed(Resumed),
    /// It has given what it had, for which there is no place yet.
    Left(Box<Left>),
    /// It has died on the way.
    Died,
}

/// What it has left.
pub struct Left {
    inputs: Inputs,
    state: EngineState,
    flows: Vec<(u16, Vec<FlowState>)>,
}

impl Left {
    /// Puts it in its place.
    ///
    /// # Errors
    /// As [`Resumed::put`].
    pub fn put(self, plan: &Plan, base: &mut Base) -> Result<Resumed> {
        for (worker, flows) in &self.flows {
            put_flows(*worker, flows, &self.inputs, base);
        }
        Resumed::put(self.state, plan, base)
    }
}

/// Asks the process that runs, if one does.
///
/// # Errors
/// If it does not let this one follow, with the reason.
pub fn ask(plan: &Plan) -> Result<Option<Offer>> {
    let path = super::socket(plan);
    let mut line = match UnixStream::connect(&path) {
        Ok(line) => line,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            tracing::info!("no process of this engine runs: an ordinary start");
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| format!("{} cannot be reached", path.display())),
    };
    let us = super::candidate(plan);
    let ports = us.ports;
    line::say(&mut line, &Word::Hello(us))?;
    match line::read(&mut line)? {
        Some(Frame::Word(Word::Welcome { interfaces, tunnels })) => {
            Ok(Some(Offer { line, ports, inputs: Inputs::new(&interfaces, &tunnels, plan) }))
        }
        Some(Frame::Word(Word::Refused { reason })) => bail!("the running process is not followed: {reason}"),
        _ => bail!("the running process says what cannot be understood"),
    }
}

impl Offer {
    /// Whether the ports can be had before the other process is gone.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Takes over. With `base`, whose ports hear nothing yet, nothing is lost: it has what belongs to it when this returns, and
    /// its workers may be launched.
    ///
    /// # Errors
    /// If the other process goes on itself; the reason is in it.
    pub fn take(mut self, plan: &Plan, mut base: Option<&mut Base>) -> Result<Before> {
        let frames = frames(self.line.try_clone().context("the line")?)?;
        line::say(&mut self.line, &Word::Ready)?;
        let mut taking = Taking { inputs: self.inputs, ..Taking::default() };
        let mut taker = Taker::Waiting;
        loop {
            if let Some(base) = base.as_deref_mut().filter(|_| taker != Taker::Waiting) {
                base.receive_early();
            }
            let Some(event) = taking.next(&frames, base.as_deref_mut()) else { continue };
            let (next, act) = taker.step(event);
            taker = next;
            match act {
                Some(Take::Listen) => {
                    base.as_deref_mut().map_or(Ok(()), Base::listen)?;
                    line::say(&mut self.line, &Word::Listening)?;
                }
                Some(Take::Hold) => {
                    if let Some(base) = base.as_deref_mut() {
                        taking.hold(plan, base)?;
                    }
                    line::say(&mut self.line, &Word::Holding)?;
                }
                Some(Take::Forward) => return taking.done(base),
                Some(Take::StartAnew) => return Ok(Before::Died),
                Some(Take::Decline) => bail!("the running process goes on: {}", taking.why),
                None => {}
            }
        }
    }
}

/// What has come so far.
#[derive(Default)]
struct Taking {
    inputs: Inputs,
    state: Option<EngineState>,
    flows: Vec<(u16, Vec<FlowState>)>,
    refused: usize,
    taken: Vec<(usize, TakenElsewhere)>,
    left_out: usize,
    resumed: Option<Resumed>,
    why: String,
}

impl Taking {
    /// The next event, if one comes soon. Sessions go where they belong at once.
    fn next(&mut self, frames: &Receiver<Result<Frame>>, base: Option<&mut Base>) -> Option<ToTaker> {
        match frames.recv_timeout(LOOK) {
            Ok(Ok(Frame::Word(Word::Open))) => Some(ToTaker::Open),
            Ok(Ok(Frame::Word(Word::Yours))) => Some(ToTaker::Yours),
            Ok(Ok(Frame::Word(Word::Kept { reason }))) => {
                self.why = reason;
                Some(ToTaker::Kept)
            }
            Ok(Ok(Frame::Word(other))) => {
                self.why = format!("{other:?} was not expected");
                Some(ToTaker::Kept)
            }
            Ok(Ok(Frame::Flows(worker, flows))) => {
                match base {
                    Some(base) => self.refused += put_flows(worker, &flows, &self.inputs, base),
                    None => self.flows.push((worker, flows)),
                }
                None
            }
            Ok(Ok(Frame::State(state))) => {
                self.state = Some(*state);
                Some(ToTaker::State)
            }
            Ok(Err(error)) => {
                self.why = format!("{error:#}");
                Some(ToTaker::Kept)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(ToTaker::Ended),
        }
    }

    fn hold(&mut self, plan: &Plan, base: &mut Base) -> Result<()> {
        let Some(state) = self.state.take() else { bail!("there is no state") };
        for (place, port) in plan.ports.iter().enumerate() {
            match state.taken.get(&port.name) {
                Some(digests) => self.taken.push((place, TakenElsewhere::new(digests.iter().copied()))),
                None => tracing::warn!(port = port.name, "some packets may be forwarded by both processes"),
            }
        }
        self.resumed = Some(Resumed::put(state, plan, base)?);
        self.leave_out(base);
        if self.refused > 0 {
            tracing::warn!(refused = self.refused, "sessions found no room");
        }
        Ok(())
    }

    /// What both have received is the other one's.
    fn leave_out(&mut self, base: &mut Base) {
        base.receive_early();
        for worker in base.workers.parked() {
            for (place, taken) in &mut self.taken {
                self.left_out += worker.queues()[*place].leave_out(taken);
            }
        }
    }

    fn done(mut self, base: Option<&mut Base>) -> Result<Before> {
        if let Some(base) = base {
            // The last copies of what the other process had received may have come since.
            self.leave_out(base);
            let kept = base.received_early();
            tracing::info!(kept, left_out = self.left_out, "what has arrived meanwhile");
        }
        match (self.resumed, self.state) {
            (Some(resumed), _) => Ok(Before::Resumed(resumed)),
            (None, Some(state)) => {
                let (inputs, flows) = (self.inputs, self.flows);
                Ok(Before::Left(Box::new(Left { inputs, state, flows })))
            }
            (None, None) => bail!("there is no state"),
        }
    }
}

/// Frames as they come, read on a thread of its own: ports are looked at meanwhile. The channel ends with the line.
fn frames(mut line: UnixStream) -> Result<Receiver<Result<Frame>>> {
    let (found, frames) = sync_channel(FRAMES);
    let read = move || {
        while let Some(frame) = line::read(&mut line).transpose() {
            let last = frame.is_err();
            if found.send(frame).is_err() || last {
                return;
            }
        }
    };
    std::thread::Builder::new().name("handover".to_owned()).spawn(read).context("a thread")?;
    Ok(frames)
}
