//! The provider where the library does not exist: it cannot be made.

use super::Unavailable;
use dataplane::sa::{AeadKey, AeadProvider, Keymat};

/// Intel's multi-buffer crypto library, which is for x86-64.
pub enum IpsecMb {}

impl IpsecMb {
    /// Always an error here.
    pub fn new() -> Result<IpsecMb, Unavailable> {
        Err(Unavailable::Cpu("the x86-64 instruction set"))
    }

    /// The instruction sets that it uses.
    pub fn instruction_sets(&self) -> &'static str {
        match *self {}
    }
}

impl AeadProvider for IpsecMb {
    fn name(&self) -> &'static str {
        match *self {}
    }

    fn key(&self, _: &Keymat<'_>) -> Box<dyn AeadKey> {
        match *self {}
    }
}
