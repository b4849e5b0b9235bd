//! ChaCha20-Poly1305 through the library's jobs: its functions without jobs take 1.4 to 1.8 times as long.

use super::Unavailable;
use super::manager::Manager;
use super::operands::{AadOperand, NONCE_LENGTH, nonce, same};
use dataplane::sa::{Aad, AeadKey, Forged, ICV_LENGTH, IV_LENGTH, Keymat, TooLong};
use dpdk_sys::ipsec_mb as mb;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use zeroize::Zeroizing;

/// Bytes under one nonce: 2^32 − 1 blocks of 64 (RFC 8439 §2.8).
const TEXT_MAX: usize = ((1 << 32) - 1) * 64;

/// Managers to submit jobs to. A worker has the same one each time, and waits for nobody: there are
/// as many as CPUs, and a lane is held for one job.
pub(super) struct Lanes(Box<[Lane]>);

/// A manager that one thread at a time uses. On a cache line of its own.
#[repr(align(64))]
struct Lane {
    busy: AtomicBool,
    manager: Manager,
}

impl Lanes {
    /// One for each CPU.
    pub fn new() -> Result<Lanes, Unavailable> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let lane = |_| Ok(Lane { busy: AtomicBool::new(false), manager: Manager::new()? });
        Ok(Lanes((0..count).map(lane).collect::<Result<_, Unavailable>>()?))
    }

    /// Any of the managers, to read.
    pub fn manager(&self) -> &Manager {
        &self.0[0].manager
    }

    /// A lane for this thread alone, until dropped.
    #[inline]
    fn enter(&self) -> Held<'_> {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static HOME: Cell<usize> = const { Cell::new(usize::MAX) });
        let home = HOME.get();
        let home = if home == usize::MAX { THREADS.fetch_add(1, Ordering::Relaxed) } else { home };
        HOME.set(home);
        let mut at = home;
        loop {
            let lane = &self.0[at % self.0.len()];
            if !lane.busy.swap(true, Ordering::Acquire) {
                return Held(lane);
            }
            // Only with more threads than CPUs.
            at += 1;
            std::hint::spin_loop();
        }
    }
}

struct Held<'a>(&'a Lane);

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

/// A key; the library expands nothing beforehand.
pub(super) struct ChaCha {
    lanes: Arc<Lanes>,
    key: Zeroizing<[u8; 32]>,
    salt: u32,
}

/// What a job does with the text.
#[derive(Clone, Copy)]
enum Direction {
    Seal,
    Open,
}

impl ChaCha {
    pub fn new(lanes: Arc<Lanes>, keymat: &Keymat<'_>) -> ChaCha {
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(keymat.key());
        ChaCha { lanes, key, salt: u32::from_ne_bytes(keymat.salt()) }
    }

    /// Runs one job over `text` in place. False if the library refused it.
    #[inline]
    fn run(
        &self,
        direction: Direction,
        iv: [u8; IV_LENGTH],
        aad: Aad<'_>,
        text: &mut [u8],
        tag: *mut u8,
    ) -> bool {
        let nonce = nonce(self.salt, iv);
        let aad = AadOperand::new(aad);
        let at = text.as_mut_ptr();
        let key = self.key.as_ptr().cast();
        let lane = self.lanes.enter();
        let manager = lane.0.manager.as_ptr();
        // SAFETY: the manager is initialised and, while the lane is held, ours alone. A free job slot is valid
        // until the next is asked for. Key (32 bytes), text, nonce (12 bytes), AAD and tag (16 bytes)
        // outlive the job, which is complete when submit returns: this AEAD is never queued.
        unsafe {
            let (Some(next), Some(submit)) = ((*manager).get_next_job, (*manager).submit_job_nocheck) else {
                return false;
            };
            let job = next(manager);
            (*job).enc_keys = key;
            (*job).dec_keys = key;
            (*job).key_len_in_bytes = 32;
            (*job).__bindgen_anon_1.src = at;
            (*job).__bindgen_anon_2.dst = at;
            (*job).__bindgen_anon_3.cipher_start_src_offset_in_bytes = 0;
            (*job).__bindgen_anon_4.msg_len_to_cipher_in_bytes = text.len() as u64;
            (*job).hash_start_src_offset_in_bytes = 0;
            (*job).__bindgen_anon_5.msg_len_to_hash_in_bytes = text.len() as u64;
            (*job).iv = (&raw const nonce).cast();
            (*job).iv_len_in_bytes = NONCE_LENGTH;
            (*job).auth_tag_output = tag;
            (*job).auth_tag_output_len_in_bytes = ICV_LENGTH as u64;
            (*job).u.CHACHA20_POLY1305.aad = aad.as_ptr().cast();
            (*job).u.CHACHA20_POLY1305.aad_len_in_bytes = aad.len();
            (*job).cipher_mode = mb::IMB_CIPHER_CHACHA20_POLY1305;
            (*job).hash_alg = mb::IMB_AUTH_CHACHA20_POLY1305;
            ((*job).cipher_direction, (*job).chain_order) = match direction {
                Direction::Seal => (mb::IMB_DIR_ENCRYPT, mb::IMB_ORDER_CIPHER_HASH),
                Direction::Open => (mb::IMB_DIR_DECRYPT, mb::IMB_ORDER_HASH_CIPHER),
            };
            let done = submit(manager);
            !done.is_null() && (*done).status == mb::IMB_STATUS_COMPLETED
        }
    }
}

impl AeadKey for ChaCha {
    fn seal(
        &self,
        iv: [u8; IV_LENGTH],
        aad: Aad<'_>,
        text: &mut [u8],
        icv: &mut [u8; ICV_LENGTH],
    ) -> Result<(), TooLong> {
        let fits = text.len() <= TEXT_MAX;
        if fits && self.run(Direction::Seal, iv, aad, text, icv.as_mut_ptr()) { Ok(()) } else { Err(TooLong) }
    }

    fn open(
        &self,
        iv: [u8; IV_LENGTH],
        aad: Aad<'_>,
        text: &mut [u8],
        icv: &[u8; ICV_LENGTH],
    ) -> Result<(), Forged> {
        let mut tag = [0; ICV_LENGTH];
        let fits = text.len() <= TEXT_MAX;
        if fits && self.run(Direction::Open, iv, aad, text, tag.as_mut_ptr()) && same(&tag, icv) {
            return Ok(());
        }
        text.fill(0);
        Err(Forged)
    }
}
