//! The codes over a handshake's messages, and the cookies in them (Donenfeld, "WireGuard", §5.3, §5.4.4, §5.4.7): who does
//! not know our public key gets no answer, and under load who does not get what is sent to its address costs us no curve.

use super::keys::{KEY, PublicKey};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, rand};
use blake2::digest::consts::{U10, U16};
use blake2::digest::{FixedOutput as _, KeyInit as _, Update as _};
use blake2::{Blake2s256, Blake2sMac, Digest as _};
use dataplane::id::Nanos;
use dataplane::wire::wireguard::{CookieReply, Macs};
use std::net::IpAddr;
use zeroize::Zeroizing;

/// How long a cookie, and the secret behind it, is good (§6.1: COOKIE-REFRESH-TIME).
const REFRESH: Nanos = Nanos::from_millis(120_000);

/// A code of 16 bytes.
pub type Mac = [u8; 16];

/// MAC(key, parts) of §5.4: keyed BLAKE2s of 128 bits.
fn mac(key: &[u8], parts: &[&[u8]]) -> Mac {
    let mut mac = Blake2sMac::<U16>::new_from_slice(key).expect("at most 32 bytes");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize_fixed().into()
}

/// HASH(label ‖ public key).
fn labelled(label: &[u8; 8], public: &PublicKey) -> [u8; 32] {
    Blake2s256::new().chain_update(label).chain_update(public.0).finalize().into()
}

/// What the codes of messages to one end are made with.
pub struct MacKeys {
    mac1: [u8; 32],
    cookie: [u8; 32],
}

impl MacKeys {
    /// Those of messages to `receiver`.
    pub fn new(receiver: &PublicKey) -> MacKeys {
        MacKeys { mac1: labelled(b"mac1----", receiver), cookie: labelled(b"cookie--", receiver) }
    }

    /// The codes of a message, the second one with a cookie.
    pub fn of(&self, body: &[u8], cookie: Option<&Mac>) -> Macs {
        let mac1 = mac(&self.mac1, &[body]);
        Macs { mac1, mac2: cookie.map_or([0; 16], |cookie| mac(cookie, &[body, &mac1])) }
    }

    /// Whether the sender of a message knows this end.
    pub fn knows(&self, body: &[u8], macs: &Macs) -> bool {
        constant_time::verify_slices_are_equal(&mac(&self.mac1, &[body]), &macs.mac1).is_ok()
    }

    /// The cookie in a reply to the message whose first code was `mac1`.
    pub fn open_cookie(&self, reply: &CookieReply, mac1: &Mac) -> Option<Mac> {
        let mut sealed = reply.cookie;
        let (key, nonce) = xchacha(&self.cookie, &reply.nonce);
        let text = key.open_in_place(nonce, Aad::from(mac1), &mut sealed).ok()?;
        text.try_into().ok()
    }
}

/// XChaCha20-Poly1305 as ChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03 §2.3): HChaCha20 makes the key of the first 16 bytes
/// of the nonce.
pub(super) fn xchacha(key: &[u8; 32], nonce: &[u8; 24]) -> (LessSafeKey, Nonce) {
    let (first, last) = nonce.split_at(16);
    let subkey = Zeroizing::new(<[u8; KEY]>::from(chacha20::hchacha::<U10>(key.into(), first.into())));
    let key = UnboundKey::new(&CHACHA20_POLY1305, &*subkey).expect("32 bytes");
    let mut short = [0; 12];
    short[4..].copy_from_slice(last);
    (LessSafeKey::new(key), Nonce::assume_unique_for_key(short))
}

/// Makes the cookies of one end.
pub struct Cookies {
    keys: MacKeys,
    secret: Zeroizing<[u8; 32]>,
    since: Nanos,
}

impl Cookies {
    /// Those of `receiver`.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn new(receiver: &PublicKey, now: Nanos) -> Result<Cookies, aws_lc_rs::error::Unspecified> {
        Ok(Cookies { keys: MacKeys::new(receiver), secret: random()?, since: now })
    }

    /// Whether a message was made for this end.
    pub fn knows(&self, body: &[u8], macs: &Macs) -> bool {
        self.keys.knows(body, macs)
    }

    /// Whether its sender has shown that it gets what is sent to `from`.
    pub fn is_reachable(&mut self, body: &[u8], macs: &Macs, from: (IpAddr, u16), now: Nanos) -> bool {
        let mac2 = mac(&self.cookie(from, now), &[body, &macs.mac1]);
        constant_time::verify_slices_are_equal(&mac2, &macs.mac2).is_ok()
    }

    /// The reply that lets it show that.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn reply(
        &mut self,
        sender: u32,
        macs: &Macs,
        from: (IpAddr, u16),
        now: Nanos,
    ) -> Result<CookieReply, aws_lc_rs::error::Unspecified> {
        let mut nonce = [0; 24];
        rand::fill(&mut nonce)?;
        let (key, short) = xchacha(&self.keys.cookie, &nonce);
        let mut text = self.cookie(from, now);
        let tag = key.seal_in_place_separate_tag(short, Aad::from(macs.mac1), &mut text)?;
        let mut cookie = [0; 32];
        cookie[..16].copy_from_slice(&text);
        cookie[16..].copy_from_slice(tag.as_ref());
        Ok(CookieReply::new(sender, nonce, cookie))
    }

    /// An address's, under a secret that is changed now and then.
    fn cookie(&mut self, (ip, port): (IpAddr, u16), now: Nanos) -> Mac {
        if now.since(self.since) >= REFRESH
            && let Ok(secret) = random()
        {
            (self.secret, self.since) = (secret, now);
        }
        match ip {
            IpAddr::V4(ip) => mac(&*self.secret, &[&ip.octets(), &port.to_be_bytes()]),
            IpAddr::V6(ip) => mac(&*self.secret, &[&ip.octets(), &port.to_be_bytes()]),
        }
    }
}

fn random() -> Result<Zeroizing<[u8; 32]>, aws_lc_rs::error::Unspecified> {
    let mut secret = Zeroizing::new([0; 32]);
    rand::fill(&mut *secret)?;
    Ok(secret)
}

/// A cookie that the far end has given us.
#[derive(Default)]
pub struct Cookie(Option<(Mac, Nanos)>);

impl Cookie {
    /// A new one.
    pub fn take(&mut self, cookie: Mac, now: Nanos) {
        self.0 = Some((cookie, now));
    }

    /// It, while it is good.
    pub fn get(&self, now: Nanos) -> Option<&Mac> {
        self.0.as_ref().filter(|(_, since)| now.since(*since) < REFRESH).map(|(cookie, _)| cookie)
    }
}
