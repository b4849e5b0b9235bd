use super::*;
use proptest::prelude::*;

fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

#[test]
fn each_reader_opens_its_part_and_nobody_else_any() {
    let (a2, b1, thief) = (KeyPair::generate(), KeyPair::generate(), KeyPair::generate());
    let (a2, b1, thief) = (a2.expect("a pair"), b1.expect("a pair"), thief.expect("a pair"));
    let (place, secret) = (key("/foreshift/v1/eu/sa/7"), [0x5a_u8; 36]);
    let sealed = Wrapped::seal(&secret, &place, &[("a2", a2.public()), ("b1", b1.public())]);
    let octets = sealed.expect("sealed").encode();
    assert!(!octets.windows(4).any(|window| window == [0x5a; 4]), "the secret shows");
    let wrapped = Wrapped::decode(&octets).expect("as written");
    assert_eq!(&**wrapped.open(&place, "a2", &a2).expect("a2's"), secret);
    assert_eq!(&**wrapped.open(&place, "b1", &b1).expect("b1's"), secret);
    assert_eq!(wrapped.open(&place, "a2", &thief), Err(WrapError::Forged));
    assert_eq!(wrapped.open(&place, "a2", &b1), Err(WrapError::Forged), "a part is its reader's alone");
    assert_eq!(wrapped.open(&place, "c1", &a2), Err(WrapError::NotForUs("c1".into())));
    let elsewhere = key("/foreshift/v1/eu/sa/8");
    assert_eq!(wrapped.open(&elsewhere, "a2", &a2), Err(WrapError::Forged), "moved to another place");
}

#[test]
fn every_changed_bit_is_seen() {
    let (pair, place) = (KeyPair::generate().expect("a pair"), key("/sa"));
    let octets = Wrapped::seal(b"key", &place, &[("a", pair.public())]).expect("sealed").encode();
    for bit in 0..octets.len() * 8 {
        let mut changed = octets.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let opened = Wrapped::decode(&changed).and_then(|wrapped| wrapped.open(&place, "a", &pair));
        // The top bit of an X25519 point is ignored (RFC 7748 §5), yet part of the key schedule's context.
        assert!(opened.is_err(), "bit {bit}");
    }
}

#[test]
fn limits_are_kept() {
    let (pair, place) = (KeyPair::generate().expect("a pair").public(), key("/sa"));
    let many: Vec<(&str, PublicKey)> = vec![("a", pair); 65];
    for (secret, readers) in [
        (&[0; 16][..], &[][..]),
        (&[0; 16], &many),
        (&[0; 16], &[("", pair)]),
        (&[0; 16], &[(&*"x".repeat(64), pair)]),
        (&[0; 4097], &[("a", pair)]),
    ] {
        assert_eq!(Wrapped::seal(secret, &place, readers), Err(WrapError::Limits));
    }
    let point_of_small_order = PublicKey::from_octets([0; 32]);
    let sealed = Wrapped::seal(b"key", &place, &[("a", point_of_small_order)]);
    assert_eq!(sealed, Err(WrapError::PublicKey("a".into())), "RFC 9180 §7.1.4");
}

proptest! {
    #[test]
    fn octets_read_back_or_are_refused(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(wrapped) = Wrapped::decode(&octets) {
            prop_assert_eq!(wrapped.encode(), octets);
        }
    }
}
