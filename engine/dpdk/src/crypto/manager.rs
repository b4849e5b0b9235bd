//! The library's manager: which of its functions suit this CPU.

use super::Unavailable;
use dpdk_sys::ipsec_mb as mb;
use std::ffi::CStr;
use std::ptr::{self, NonNull};

/// AES-GCM in one call: key, scratch, destination, source, length, nonce, AAD and its length, tag and its length.
pub(super) type GcmCall = unsafe extern "C" fn(
    *const mb::gcm_key_data,
    *mut mb::gcm_context_data,
    *mut u8,
    *const u8,
    u64,
    *const u8,
    *const u8,
    u64,
    *mut u8,
    u64,
);
/// Expands an AES key and its powers of the hash key.
pub(super) type GcmExpand = unsafe extern "C" fn(*const std::ffi::c_void, *mut mb::gcm_key_data);

/// AES-GCM for one key length.
pub(super) struct GcmFunctions {
    pub expand: GcmExpand,
    pub seal: GcmCall,
    pub open: GcmCall,
}

/// An initialised `IMB_MGR`. Its jobs belong to one thread at a time, its functions to all.
pub(super) struct Manager(NonNull<mb::IMB_MGR>);

// SAFETY: the library keeps no thread's identity, and `&Manager` only reads function pointers.
unsafe impl Send for Manager {}
// SAFETY: as above; whoever submits jobs has the manager for itself.
unsafe impl Sync for Manager {}

impl Manager {
    pub fn new() -> Result<Manager, Unavailable> {
        // SAFETY: no requirements.
        let raw = unsafe { mb::alloc_mb_mgr(0) };
        let raw = NonNull::new(raw).ok_or_else(|| Unavailable::Library(error(ptr::null_mut())))?;
        let manager = Manager(raw);
        // SAFETY: just allocated, ours. The library accepts no place for the architecture.
        unsafe { mb::init_mb_mgr_auto(raw.as_ptr(), ptr::null_mut()) };
        let features = manager.features();
        let lacks = |feature| features & feature == 0;
        // Without them the library emulates, slowly and not in constant time.
        if lacks(mb::IPSEC_MB_FEATURE_AESNI) {
            return Err(Unavailable::Cpu("AES-NI"));
        }
        if lacks(mb::IPSEC_MB_FEATURE_PCLMULQDQ) {
            return Err(Unavailable::Cpu("PCLMULQDQ"));
        }
        if !lacks(mb::IPSEC_MB_FEATURE_SELF_TEST) && lacks(mb::IPSEC_MB_FEATURE_SELF_TEST_PASS) {
            return Err(Unavailable::SelfTest);
        }
        // SAFETY: ours, and initialised.
        match unsafe { mb::imb_get_errno(raw.as_ptr()) } {
            0 => Ok(manager),
            _ => Err(Unavailable::Library(error(raw.as_ptr()))),
        }
    }

    fn features(&self) -> u64 {
        // SAFETY: allocated; set by its initialisation and constant since.
        unsafe { (*self.0.as_ptr()).features }
    }

    pub fn instruction_sets(&self) -> &'static str {
        let has = |feature| self.features() & feature == feature;
        match (has(mb::IPSEC_MB_FEATURE_AVX512), has(mb::IPSEC_MB_FEATURE_VAES)) {
            (true, true) => "AVX512, VAES",
            (true, false) => "AVX512, AES-NI",
            (false, true) => "AVX2, VAES",
            (false, false) if has(mb::IPSEC_MB_FEATURE_AVX2) => "AVX2, AES-NI",
            (false, false) => "SSE, AES-NI",
        }
    }

    /// For jobs, which need the manager alone.
    pub fn as_ptr(&self) -> *mut mb::IMB_MGR {
        self.0.as_ptr()
    }

    pub fn gcm128(&self) -> GcmFunctions {
        // SAFETY: initialised; only read.
        let manager = unsafe { self.0.as_ref() };
        functions(manager.gcm128_pre, manager.gcm128_enc, manager.gcm128_dec)
    }

    pub fn gcm192(&self) -> GcmFunctions {
        // SAFETY: initialised; only read.
        let manager = unsafe { self.0.as_ref() };
        functions(manager.gcm192_pre, manager.gcm192_enc, manager.gcm192_dec)
    }

    pub fn gcm256(&self) -> GcmFunctions {
        // SAFETY: initialised; only read.
        let manager = unsafe { self.0.as_ref() };
        functions(manager.gcm256_pre, manager.gcm256_enc, manager.gcm256_dec)
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // SAFETY: allocated by the library, and ours.
        unsafe { mb::free_mb_mgr(self.0.as_ptr()) }
    }
}

fn functions(expand: Option<GcmExpand>, seal: Option<GcmCall>, open: Option<GcmCall>) -> GcmFunctions {
    let set = "init_mb_mgr_auto set every function";
    GcmFunctions { expand: expand.expect(set), seal: seal.expect(set), open: open.expect(set) }
}

/// What the library says went wrong last.
fn error(manager: *mut mb::IMB_MGR) -> String {
    // SAFETY: null, which stands for the library's global state, or a manager.
    let code = unsafe { mb::imb_get_errno(manager) };
    // SAFETY: returns a static string for every code.
    let text = unsafe { CStr::from_ptr(mb::imb_get_strerror(code)) };
    text.to_string_lossy().into_owned()
}
