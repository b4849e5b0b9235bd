//! The AEADs of AWS-LC: on every machine, with or without AES instructions.

use super::aead::{
    Aad, AeadKey, AeadProvider, Algorithm, Forged, ICV_LENGTH, IV_LENGTH, SALT_LENGTH, TooLong,
};
use super::key::Keymat;
use aws_lc_rs::aead::{
    self, AES_128_GCM, AES_192_GCM, AES_256_GCM, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};

/// AWS-LC, through `aws-lc-rs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AwsLc;

impl AeadProvider for AwsLc {
    fn name(&self) -> &'static str {
        "aws-lc"
    }

    fn key(&self, keymat: &Keymat<'_>) -> Box<dyn AeadKey> {
        let algorithm = match keymat.algorithm() {
            Algorithm::Aes128Gcm => &AES_128_GCM,
            Algorithm::Aes192Gcm => &AES_192_GCM,
            Algorithm::Aes256Gcm => &AES_256_GCM,
            Algorithm::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, keymat.key()).expect("the length is the algorithm's");
        Box::new(Key { key: LessSafeKey::new(key), salt: keymat.salt() })
    }
}

/// AWS-LC erases what it frees (`OPENSSL_free`); the salt alone, which it does not hold, opens nothing.
struct Key {
    key: LessSafeKey,
    salt: [u8; SALT_LENGTH],
}

impl Key {
    fn nonce(&self, iv: [u8; IV_LENGTH]) -> Nonce {
        let ([a, b, c, d], [e, f, g, h, i, j, k, l]) = (self.salt, iv);
        Nonce::assume_unique_for_key([a, b, c, d, e, f, g, h, i, j, k, l])
    }
}

impl AeadKey for Key {
    fn seal(
        &self,
        iv: [u8; IV_LENGTH],
        aad: Aad<'_>,
        text: &mut [u8],
        icv: &mut [u8; ICV_LENGTH],
    ) -> Result<(), TooLong> {
        let tag = aad
            .with_bytes(|aad| self.key.seal_in_place_separate_tag(self.nonce(iv), aead::Aad::from(aad), text))
            .map_err(|_| TooLong)?;
        icv.copy_from_slice(tag.as_ref());
        Ok(())
    }

    fn open(
        &self,
        iv: [u8; IV_LENGTH],
        aad: Aad<'_>,
        text: &mut [u8],
        icv: &[u8; ICV_LENGTH],
    ) -> Result<(), Forged> {
        aad.with_bytes(|aad| {
            let opened = self.key.open_in_place_separate_tag(self.nonce(iv), aead::Aad::from(aad), icv, text);
            opened.map(|_| ()).map_err(|_| Forged)
        })
    }
}
