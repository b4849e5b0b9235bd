//! WireGuard's handshake as Noise: `IKpsk2` (Donenfeld, "WireGuard", §5.4). The pattern is `snow`'s; what it computes with is
//! AWS-LC, and BLAKE2s, which that lacks.

use super::keys::{Identity, KEY, Preshared, PublicKey};
use aws_lc_rs::aead::{self, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::rand;
use blake2::{Blake2s256, Digest};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState};
use zeroize::Zeroizing;

const PATTERN: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
/// §5.4.1: IDENTIFIER.
const PROLOGUE: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";
/// The preshared key's place in the pattern.
const PSK: u8 = 2;

/// Of an AEAD.
const TAG: usize = 16;

/// TAI64N: seconds and nanoseconds, big-endian, so that later ones are greater (§5.4.2).
pub type Timestamp = [u8; 12];
/// Noise's part of the first message.
pub type First = [u8; KEY + (KEY + TAG) + (12 + TAG)];
/// Noise's part of the second.
pub type Second = [u8; KEY + TAG];

/// What a handshake ends with.
pub struct TransportKeys {
    /// What we seal with.
    pub sending: Zeroizing<[u8; KEY]>,
    /// What the far end seals with.
    pub receiving: Zeroizing<[u8; KEY]>,
}

/// An initiator's handshake, waiting for the answer.
pub struct Initiated(HandshakeState);

/// A responder's, before the answer.
pub struct Accepted {
    state: HandshakeState,
    /// Who asks.
    pub initiator: PublicKey,
    /// When it did, by its own clock.
    pub timestamp: Timestamp,
}

fn builder() -> Result<Builder<'static>, Error> {
    Builder::with_resolver(PATTERN.parse()?, Box::new(Primitives)).prologue(PROLOGUE)
}

/// Begins a handshake with `responder`.
///
/// # Errors
/// If its public key is none, or the system gives no randomness.
pub fn initiate(
    ours: &Identity,
    responder: &PublicKey,
    preshared: &Preshared,
    timestamp: &Timestamp,
) -> Result<(Initiated, First), Error> {
    let builder = builder()?.psk(PSK, preshared.bytes())?.local_private_key(ours.private())?;
    let mut state = builder.remote_public_key(&responder.0)?.build_initiator()?;
    let mut first = [0; size_of::<First>()];
    let length = state.write_message(timestamp, &mut first)?;
    debug_assert_eq!(length, first.len());
    Ok((Initiated(state), first))
}

impl Initiated {
    /// The answer has come.
    ///
    /// # Errors
    /// If it is none to this handshake. Then the true one may still come.
    pub fn finish(&mut self, second: &Second) -> Result<TransportKeys, Error> {
        let mut nothing = [0; TAG];
        self.0.read_message(second, &mut nothing)?;
        Ok(split(&mut self.0))
    }
}

/// Opens the first message of somebody's.
///
/// # Errors
/// If it was not made for us.
pub fn accept(ours: &Identity, first: &First) -> Result<Accepted, Error> {
    let mut state = builder()?.local_private_key(ours.private())?.build_responder()?;
    let mut timestamp = [0; 12 + TAG];
    state.read_message(first, &mut timestamp)?;
    let initiator = state.get_remote_static().and_then(|key| key.try_into().ok()).ok_or(Error::Input)?;
    let timestamp = timestamp.first_chunk().copied().ok_or(Error::Input)?;
    Ok(Accepted { state, initiator: PublicKey(initiator), timestamp })
}

impl Accepted {
    /// Answers.
    ///
    /// # Errors
    /// If the system gives no randomness, or the initiator's ephemeral key is none.
    pub fn answer(mut self, preshared: &Preshared) -> Result<(TransportKeys, Second), Error> {
        self.state.set_psk(usize::from(PSK), preshared.bytes())?;
        let mut second = [0; size_of::<Second>()];
        let length = self.state.write_message(&[], &mut second)?;
        debug_assert_eq!(length, second.len());
        Ok((split(&mut self.state), second))
    }
}

/// §5.4.5: the initiator sends under the first key.
fn split(state: &mut HandshakeState) -> TransportKeys {
    let (first, second) = state.dangerously_get_raw_split();
    let (first, second) = (Zeroizing::new(first), Zeroizing::new(second));
    let (sending, receiving) = if state.is_initiator() { (first, second) } else { (second, first) };
    TransportKeys { sending, receiving }
}

/// The public key of a private one.
pub fn public_of(private: &[u8; KEY]) -> Result<[u8; KEY], Error> {
    let key = PrivateKey::from_private_key(&X25519, private).map_err(|_| Error::Dh)?;
    let public = key.compute_public_key().map_err(|_| Error::Dh)?;
    public.as_ref().try_into().map_err(|_| Error::Dh)
}

pub(super) struct Primitives;

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SystemRandom))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(KeyPair::default()) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::Blake2s).then(|| Box::new(Blake2s(Blake2s256::new())) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| Box::new(ChaChaPoly(None)) as Box<dyn Cipher>)
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        rand::fill(bytes).map_err(|_| Error::Rng)
    }
}

#[derive(Default)]
struct KeyPair {
    private: Zeroizing<[u8; KEY]>,
    public: [u8; KEY],
}

impl Dh for KeyPair {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY
    }

    fn priv_len(&self) -> usize {
        KEY
    }

    fn set(&mut self, private: &[u8]) {
        self.private.copy_from_slice(private);
        // Any 32 bytes are a key of X25519's (RFC 7748 §5); a public key of zeros agrees with nobody.
        self.public = public_of(&self.private).unwrap_or_default();
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), Error> {
        random.try_fill_bytes(&mut *self.private)?;
        self.public = public_of(&self.private)?;
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.private
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let ours = PrivateKey::from_private_key(&X25519, &*self.private).map_err(|_| Error::Dh)?;
        let public = UnparsedPublicKey::new(&X25519, public.get(..KEY).ok_or(Error::Input)?);
        // A point of small order, whose secret would be zero whatever our key, is refused.
        agreement::agree(&ours, public, Error::Dh, |secret| {
            out.get_mut(..KEY).ok_or(Error::Input)?.copy_from_slice(secret);
            Ok(())
        })
    }
}

struct ChaChaPoly(Option<LessSafeKey>);

/// §5.4: four bytes of zero, then the counter.
fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; KEY]) {
        self.0 = UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new);
    }

    fn encrypt(&self, counter: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let key = self.0.as_ref().expect("snow sets a key before it encrypts");
        let (text, rest) = out.split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let tag = key.seal_in_place_separate_tag(nonce(counter), aead::Aad::from(authtext), text);
        rest[..TAG].copy_from_slice(tag.expect("a handshake's texts are short").as_ref());
        plaintext.len() + TAG
    }

    fn decrypt(
        &self,
        counter: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let key = self.0.as_ref().ok_or(Error::Decrypt)?;
        let (sealed, tag) = ciphertext.split_last_chunk::<TAG>().ok_or(Error::Decrypt)?;
        let text = out.get_mut(..sealed.len()).ok_or(Error::Input)?;
        text.copy_from_slice(sealed);
        key.open_in_place_separate_tag(nonce(counter), aead::Aad::from(authtext), tag, text)
            .map_err(|_| Error::Decrypt)?;
        Ok(sealed.len())
    }
}

struct Blake2s(Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Blake2s256::new();
    }

    fn input(&mut self, data: &[u8]) {
        Digest::update(&mut self.0, data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&self.0.finalize_reset());
    }
}
