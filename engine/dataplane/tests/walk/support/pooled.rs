//! Packets that return to their pool, as mbufs do: nothing is allocated once the pool is made, and a test can see
//! whether all came back.

use dataplane::packet::{Burst, Packet, PacketPool, Port};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

const HEADROOM: usize = 128;
const SIZE: usize = 2048 + HEADROOM;

/// Buffers that nobody uses.
#[derive(Clone)]
pub struct Pool(Arc<Mutex<Vec<Box<[u8]>>>>);

impl Pool {
    pub fn new(buffers: usize) -> Pool {
        Pool(Arc::new(Mutex::new((0..buffers).map(|_| vec![0; SIZE].into()).collect())))
    }

    /// How many are free.
    pub fn free(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// A packet that holds `bytes`, at most 2048.
    pub fn fill(&self, bytes: &[u8]) -> Option<Pooled> {
        let mut packet = self.clone().alloc()?;
        packet.append(bytes.len())?.copy_from_slice(bytes);
        Some(packet)
    }
}

impl PacketPool for Pool {
    type Packet = Pooled;

    fn alloc(&mut self) -> Option<Pooled> {
        let buffer = self.0.lock().unwrap().pop();
        buffer.map(|buffer| Pooled {
            buffer: Some(buffer),
            start: HEADROOM,
            end: HEADROOM,
            pool: self.clone(),
        })
    }
}

/// A packet from a [`Pool`].
pub struct Pooled {
    /// None only while it is dropped.
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    pool: Pool,
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.0.lock().unwrap().extend(self.buffer.take());
    }
}

impl Packet for Pooled {
    fn data(&self) -> &[u8] {
        &self.buffer.as_ref().unwrap()[self.start..self.end]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut().unwrap()[self.start..self.end]
    }

    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(n)?;
        Some(self.data_mut())
    }

    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        self.end = self.end.checked_add(n).filter(|&end| end <= SIZE)?;
        Some(self.data_mut())
    }

    fn adj(&mut self, n: usize) -> bool {
        let fits = n <= self.len();
        self.start += if fits { n } else { 0 };
        fits
    }

    fn trim(&mut self, n: usize) -> bool {
        let fits = n <= self.len();
        self.end -= if fits { n } else { 0 };
        fits
    }
}

/// A queue pair whose sending side takes at most `room` packets a call.
#[derive(Clone)]
pub struct PooledPort {
    pub rx: Arc<Mutex<VecDeque<Pooled>>>,
    pub tx: Arc<Mutex<VecDeque<Pooled>>>,
    room: usize,
}

impl PooledPort {
    pub fn new(room: usize) -> PooledPort {
        let queue = || Arc::new(Mutex::new(VecDeque::with_capacity(4096)));
        PooledPort { rx: queue(), tx: queue(), room }
    }
}

impl Port for PooledPort {
    type Packet = Pooled;

    fn rx_burst(&mut self, burst: &mut Burst<Pooled>) {
        let mut rx = self.rx.lock().unwrap();
        let n = burst.remaining_capacity().min(rx.len());
        burst.extend(rx.drain(..n));
    }

    fn tx_burst(&mut self, burst: &mut Burst<Pooled>) {
        let n = burst.len().min(self.room);
        self.tx.lock().unwrap().extend(burst.drain(..n));
    }
}
