//! Two engines back to back in memory: the near one is measured, the far one makes its input and reads its output.

use super::ROUND;
use super::case::{Case, Cipher, Scenario, Way};
use super::machine::Stopwatch;
use super::port::MemoryPort;
use super::site::{End, HOST, LAN, Side, WAN};
use super::traffic::{FlowLength, Frames};
use crate::config::types::CryptoProvider;
use crate::crypto::Crypto;
use anyhow::{Context as _, Result, bail, ensure};
use dataplane::id::{Spi, TunnelId};
use dataplane::message::{Command, Inbound};
use dataplane::packet::{BURST, Packet, PacketPool};
use dataplane::replay::WindowSize;
use dataplane::sa::{InboundSa, Limits, OutboundSa};
use dataplane::snapshot::Encapsulation;
use dataplane::wire::ethernet;
use dataplane::worker::Worker;
use std::hint::black_box;

/// The two engines and the traffic between them.
pub struct Rig<A: PacketPool, C: Stopwatch> {
    scenario: Scenario,
    near: End<A, C>,
    far: End<A, C>,
    pool: A,
    clock: C,
    frames: Frames,
    /// Where in `frames` the next round begins.
    next: usize,
    offered: u64,
    delivered: u64,
}

/// What went in and what came out, frame by frame.
pub struct Sample {
    /// As the hosts sent them.
    pub inner: Vec<Vec<u8>>,
    /// As the measured end received them.
    pub received: Vec<Vec<u8>>,
    /// As it sent them.
    pub sent: Vec<Vec<u8>>,
}

impl<A: PacketPool + Clone, C: Stopwatch> Rig<A, C> {
    /// Both engines with their tunnels up, and the frames of `length` bytes that the case forwards.
    pub fn new(case: Case, cipher: Cipher, length: usize, pool: &A, clock: &C) -> Rig<A, C> {
        let scenario = case.scenario(cipher);
        let frames = Frames::new(scenario.entry().0.mac(LAN), HOST, length, &scenario.flows, scenario.length);
        let mut near = End::new(&scenario, Side::Near, pool, clock);
        let mut far = End::new(&scenario, Side::Far, pool, clock);
        for n in (0..scenario.tunnels.len()).filter(|&n| scenario.tunnels[n] == Encapsulation::Esp) {
            let (from, to) =
                if scenario.way == Way::Decap { (&mut far, &mut near) } else { (&mut near, &mut far) };
            install(n, scenario.cipher, from, to);
        }
        let (pool, clock) = (pool.clone(), clock.clone());
        Rig { scenario, near, far, pool, clock, frames, next: 0, offered: 0, delivered: 0 }
    }

    /// The tables it forwards by.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Checks a round: what goes in at one host comes out at the other, whole and with its hops taken. A tunnelled
    /// packet is read by the far end, which also made the input where the near end reads.
    pub fn verify(&mut self) -> Result<Sample> {
        let inner: Vec<_> = (0..ROUND).map(|i| self.frames.get(self.next + i).to_vec()).collect();
        let input = self.input()?;
        let received = copies(&input);
        let (from, to) = self.scenario.ports();
        let mut outputs = pass(&mut self.near, from, to, input)?;
        let sent = copies(&outputs);
        if self.scenario.way == Way::Encap {
            ensure!(sent[0].len() > inner[0].len(), "nothing was encapsulated");
            outputs = pass(&mut self.far, WAN, LAN, outputs)?;
        }
        let hops = if self.scenario.way == Way::Forward { 1 } else { 2 };
        ensure!(
            outputs.len() == ROUND,
            "{} of {ROUND} packets came out: {}",
            outputs.len(),
            self.near.dropped()
        );
        for (input, output) in inner.iter().zip(&outputs) {
            same(input, output.data(), hops)?;
        }
        Ok(Sample { inner, received, sent })
    }

    /// One round of [`ROUND`] packets; `record` learns the cycles of each poll.
    pub fn round(&mut self, mut record: impl FnMut(u64)) -> Result<()> {
        let input = self.input()?;
        self.near.ports[self.scenario.ports().0].offer(input);
        loop {
            // A counter is read without touching memory: nothing else would keep it in its place.
            let begin = black_box(self.clock.cycles());
            let received = black_box(measured_poll(black_box(&mut self.near.worker)));
            let cycles = black_box(self.clock.cycles()) - begin;
            if received == 0 {
                break;
            }
            ensure!(received == BURST, "a poll took {received} packets: a round is whole bursts");
            record(cycles);
        }
        self.offered += ROUND as u64;
        for port in &self.near.ports {
            self.delivered += port.taken().len() as u64;
        }
        self.near.drain_reports();
        ensure!(
            self.scenario.length == FlowLength::Endless || self.offered < self.frames.count() as u64,
            "no flow is left that has not begun: measure for a shorter time"
        );
        Ok(())
    }

    /// Packets that went in and did not come out.
    pub fn drops(&self) -> u64 {
        self.offered - self.delivered
    }

    /// Their reasons.
    pub fn why_dropped(&self) -> String {
        self.near.dropped()
    }

    /// What the measured end receives before it has seen every flow.
    pub fn received(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        while all.len() < self.frames.count() {
            all.extend(copies(&self.input()?));
        }
        all.truncate(self.frames.count());
        Ok(all)
    }

    /// Fresh packets as the near end receives them.
    fn input(&mut self) -> Result<Vec<A::Packet>> {
        let mut packets = Vec::with_capacity(ROUND);
        for i in 0..ROUND {
            let frame = self.frames.get(self.next + i);
            let mut packet = self.pool.alloc().context("the benchmark's pool is too small")?;
            packet.append(frame.len()).context("a frame fits an mbuf")?.copy_from_slice(frame);
            packets.push(packet);
        }
        self.next = (self.next + ROUND) % self.frames.count().max(ROUND);
        if self.scenario.way == Way::Decap { pass(&mut self.far, LAN, WAN, packets) } else { Ok(packets) }
    }
}

/// What is timed. A function of its own, so that callgrind counts from its entry to its return.
#[inline(never)]
fn measured_poll<A: PacketPool, C: Stopwatch>(worker: &mut Worker<MemoryPort<A::Packet>, A, C>) -> usize {
    worker.poll()
}

fn copies<P: Packet>(packets: &[P]) -> Vec<Vec<u8>> {
    packets.iter().map(|packet| packet.data().to_vec()).collect()
}

/// Checks that `output` is `input` after `hops` hops: the IP header but for TTL and checksum, and the payload.
fn same(input: &[u8], output: &[u8], hops: u8) -> Result<()> {
    ensure!(output.len() == input.len(), "{} bytes became {}", input.len(), output.len());
    let (input, output) = (&input[ethernet::HEADER_LENGTH..], &output[ethernet::HEADER_LENGTH..]);
    let (ttl, check) = if input[0] >> 4 == 4 { (8, 10..12) } else { (7, 0..0) };
    ensure!(output[ttl] + hops == input[ttl], "TTL {} became {}", input[ttl], output[ttl]);
    let changed = |i: &usize| *i != ttl && !check.contains(i) && input[*i] != output[*i];
    match (0..input.len()).find(changed) {
        Some(i) => bail!("byte {i} of the IP packet changed"),
        None => Ok(()),
    }
}

/// Runs packets through an engine, untimed.
fn pass<A: PacketPool + Clone, C: Stopwatch>(
    end: &mut End<A, C>,
    from: usize,
    to: usize,
    packets: Vec<A::Packet>,
) -> Result<Vec<A::Packet>> {
    end.ports[from].offer(packets);
    while end.worker.poll() > 0 {}
    let out = end.ports[to].taken();
    ensure!(!out.is_empty(), "an engine let nothing through: {}", end.dropped());
    Ok(out)
}

/// The SA of tunnel `n` from one end to the other.
fn install<A: PacketPool, C: Stopwatch>(n: usize, cipher: Cipher, from: &mut End<A, C>, to: &mut End<A, C>) {
    let crypto = Crypto::choose(CryptoProvider::Auto).expect("auto falls back");
    let key = || cipher.key(&*crypto.provider);
    let (spi, tunnel) = (Spi(0x1000 + n as u32), TunnelId(n as u16));
    let limits = Limits { soft: u64::MAX - 1, hard: u64::MAX };
    let outbound = OutboundSa::new(spi, key(), limits, true).expect("a valid SA");
    let window = WindowSize::new(1024).expect("a valid size");
    let inbound = InboundSa::new(spi, key(), window, true).expect("a valid SA");
    let sent = from.control.commands.push(Command::InstallOutbound(tunnel, Box::new(outbound)));
    let sent = sent
        .and(to.control.commands.push(Command::InstallInbound(Box::new(Inbound { tunnel, sa: inbound }))));
    assert!(sent.is_ok(), "fresh rings have room");
}
