//! AES-GCM: the library's one-call functions over a precomputed key.

use super::manager::{GcmCall, GcmFunctions};
use super::operands::{AadOperand, nonce, same};
use dataplane::sa::{Aad, AeadKey, Forged, ICV_LENGTH, IV_LENGTH, Keymat, TooLong};
use dpdk_sys::ipsec_mb as mb;
use std::mem::MaybeUninit;
use std::slice;
use zeroize::Zeroize;

/// Bytes under one nonce: 2^36 − 32 (NIST SP 800-38D §5.2.1.1).
const TEXT_MAX: usize = (1 << 36) - 32;

/// An expanded key, and the functions for its length. The two are erased and freed together.
#[repr(C)]
pub(super) struct Gcm {
    data: mb::gcm_key_data,
    seal: GcmCall,
    open: GcmCall,
    salt: u32,
}

// SAFETY: plain data, written once; the library only reads it.
unsafe impl Send for Gcm {}

impl Gcm {
    /// Expands in place on the heap, so that no copy of the key stays behind.
    pub fn expand(functions: &GcmFunctions, keymat: &Keymat<'_>) -> Box<dyn AeadKey> {
        let mut new = Box::<Gcm>::new_uninit();
        let at = new.as_mut_ptr();
        // SAFETY: `at` is valid for writes of a Gcm. A GcmFunctions is the set for its key length, and a
        // Keymat's key has its algorithm's length, by which the caller chose the set.
        unsafe {
            at.write_bytes(0, 1);
            (functions.expand)(keymat.key().as_ptr().cast(), &raw mut (*at).data);
            (&raw mut (*at).seal).write(functions.seal);
            (&raw mut (*at).open).write(functions.open);
            (&raw mut (*at).salt).write(u32::from_ne_bytes(keymat.salt()));
            new.assume_init()
        }
    }

    /// Runs `call` over `text` in place.
    #[inline(always)]
    fn run(&self, call: GcmCall, iv: [u8; IV_LENGTH], aad: Aad<'_>, text: &mut [u8], tag: *mut u8) {
        let nonce = nonce(self.salt, iv);
        let aad = AadOperand::new(aad);
        let mut scratch = MaybeUninit::<mb::gcm_context_data>::uninit();
        let at = text.as_mut_ptr();
        // SAFETY: the key was expanded for this call's key length. In place is allowed; text, nonce
        // (12 bytes, a block stored), AAD and tag (16 bytes) are valid for the call, and the scratch
        // is initialised by it.
        unsafe {
            call(
                &self.data,
                scratch.as_mut_ptr(),
                at,
                at,
                text.len() as u64,
                (&raw const nonce).cast(),
                aad.as_ptr(),
                aad.len(),
                tag,
                ICV_LENGTH as u64,
            );
        }
    }
}

impl AeadKey for Gcm {
    fn seal(
        &self,
        iv: [u8; IV_LENGTH],
        aad: Aad<'_>,
        text: &mut [u8],
        icv: &mut [u8; ICV_LENGTH],
    ) -> Result<(), TooLong> {
        if text.len() > TEXT_MAX {
            return Err(TooLong);
        }
        self.run(self.seal, iv, aad, text, icv.as_mut_ptr());
        Ok(())
    }

    fn open(
        &self,
        iv: [u8; IV_LENGTH],
        aad: Aad<'_>,
        text: &mut [u8],
        icv: &[u8; ICV_LENGTH],
    ) -> Result<(), Forged> {
        if text.len() > TEXT_MAX {
            return Err(Forged);
        }
        let mut tag = [0; ICV_LENGTH];
        self.run(self.open, iv, aad, text, tag.as_mut_ptr());
        if same(&tag, icv) {
            return Ok(());
        }
        text.fill(0);
        Err(Forged)
    }
}

impl Drop for Gcm {
    fn drop(&mut self) {
        let at = (&raw mut self.data).cast::<u8>();
        // SAFETY: the whole of our own key data, initialised byte by byte in `expand`.
        unsafe { slice::from_raw_parts_mut(at, size_of::<mb::gcm_key_data>()) }.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::manager::Manager;
    use dataplane::sa::Algorithm;
    use std::alloc::{Layout, dealloc};
    use std::ptr;

    #[test]
    fn a_dropped_key_is_erased() {
        let keymat = [0x5a; Algorithm::Aes256Gcm.keymat_length()];
        let keymat = Keymat::new(Algorithm::Aes256Gcm, &keymat).unwrap();
        let key = Box::into_raw(Gcm::expand(&Manager::new().unwrap().gcm256(), &keymat)).cast::<Gcm>();
        // SAFETY: `Gcm::expand` makes a Gcm on the heap. It is dropped once, looked at while its memory is
        // still ours, and freed.
        unsafe {
            let data = slice::from_raw_parts(key.cast::<u8>(), size_of::<mb::gcm_key_data>());
            assert!(data.windows(16).any(|bytes| bytes == [0x5a; 16]), "a round key");
            ptr::drop_in_place(key);
            let data = slice::from_raw_parts(key.cast::<u8>(), size_of::<mb::gcm_key_data>());
            assert!(data.iter().all(|&byte| byte == 0));
            dealloc(key.cast(), Layout::new::<Gcm>());
        }
    }
}
