//! What others have published.

use super::super::macs::{self, MacKeys};
use super::super::noise::Primitives;
use super::*;
use dataplane::sa::{Algorithm, SaKey};
use dataplane::wire::wireguard::HEADER_LENGTH;
use dataplane::wireguard::{Session, SessionParts};
use snow::Builder;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The vector of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s by cacophony, the Haskell implementation: both handshake messages, and
/// the transport messages, which our sessions must write behind their headers.
#[test]
fn the_handshake_and_the_data_are_noises() {
    let pattern = || "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s".parse().unwrap();
    let (prologue, psk) = (
        bytes("4a6f686e2047616c74"),
        bytes("54686973206973206d7920417573747269616e20706572737065637469766521").try_into().unwrap(),
    );
    let (init, resp) = (
        bytes("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1"),
        bytes("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893"),
    );
    let (init_ephemeral, resp_ephemeral) = (
        bytes("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a"),
        bytes("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b"),
    );
    let resp_public = bytes("31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62");
    let builder = || Builder::with_resolver(pattern(), Box::new(Primitives)).prologue(&prologue).unwrap();
    let initiator = builder().psk(2, &psk).unwrap().local_private_key(&init).unwrap();
    let initiator = initiator.remote_public_key(&resp_public).unwrap();
    let mut a = initiator.fixed_ephemeral_key_for_testing_only(&init_ephemeral).build_initiator().unwrap();
    let responder = builder().psk(2, &psk).unwrap().local_private_key(&resp).unwrap();
    let mut b = responder.fixed_ephemeral_key_for_testing_only(&resp_ephemeral).build_responder().unwrap();
    let (mut message, mut payload) = ([0; 200], [0; 200]);
    let length = a.write_message(&bytes("4c756477696720766f6e204d69736573"), &mut message).unwrap();
    let first = "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57527207feb5\
        6253c9c94a9e496782ecfcb2a75fbcaf1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985464cf17e51\
        ee93109008399a21f7e13f";
    assert_eq!(message[..length], bytes(first));
    b.read_message(&message[..length], &mut payload).unwrap();
    let length = b.write_message(&bytes("4d757272617920526f746862617264"), &mut message).unwrap();
    let second = "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f007572dab032221775\
        5c0632f365717edbf34d33e87a";
    assert_eq!(message[..length], bytes(second));
    a.read_message(&message[..length], &mut payload).unwrap();
    let (of_a, of_b) = a.dangerously_get_raw_split();
    let ours = |sending: &[u8; 32], receiving: &[u8; 32]| {
        let key = |key: &[u8; 32]| {
            SaKey::new(&AwsLc, Algorithm::ChaCha20Poly1305, &[&key[..], &[0; 4]].concat()).unwrap()
        };
        let (local, allowed) = (Receiver::new(TUNNEL, 1), Arc::default());
        let (sending, receiving, over) = (key(sending), key(receiving), Nanos::MAX);
        Session::new(SessionParts { local, remote: 9, sending, receiving, over, allowed })
    };
    let (mut a, mut b) = (ours(&of_a, &of_b), ours(&of_b, &of_a));
    for (from_a, text, sealed) in [
        (true, "462e20412e20486179656b", "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7"),
        (false, "4361726c204d656e676572", "07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef"),
        (
            true,
            "4a65616e2d426170746973746520536179",
            "6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d",
        ),
    ] {
        let mut packet = Frame::new(&bytes(text));
        let (from, to) = if from_a { (&mut a, &mut b) } else { (&mut b, &mut a) };
        from.seal_behind(&mut packet, 0, 0, Nanos(0)).unwrap();
        assert_eq!(packet.data()[HEADER_LENGTH..], bytes(sealed));
        to.open(&mut packet, Nanos(0)).unwrap();
        assert_eq!(packet.data(), bytes(text));
    }
}

/// draft-irtf-cfrg-xchacha-03, appendix A.3.1.
#[test]
fn cookies_are_sealed_with_xchacha20_poly1305() {
    let key: [u8; 32] = std::array::from_fn(|at| 0x80 + at as u8);
    let nonce: [u8; 24] = std::array::from_fn(|at| 0x40 + at as u8);
    let aad = bytes("50515253c0c1c2c3c4c5c6c7");
    let mut text =
        *b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
        sunscreen would be it.";
    let (key, nonce) = macs::xchacha(&key, &nonce);
    let tag = key.seal_in_place_separate_tag(nonce, aws_lc_rs::aead::Aad::from(aad), &mut text).unwrap();
    assert_eq!(text[..16], bytes("bd6d179d3e83d43b9576579493c0e939"));
    assert_eq!(tag.as_ref(), bytes("c0875924c1c7987947deafd8780acf49"));
}

/// By Python's hashlib: blake2s(b"message", digest_size=16, key=blake2s(b"mac1----" + bytes(range(32))).digest()).
#[test]
fn the_codes_are_keyed_blake2s() {
    let keys = MacKeys::new(&PublicKey(std::array::from_fn(|at| at as u8)));
    assert_eq!(keys.of(b"message", None).mac1.to_vec(), bytes("16b1bfc4d05c1b0642a7f4fa67f01e94"));
}
