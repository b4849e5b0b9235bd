//! SA keys: the same at both ends, different for everything else; the key log decrypts in Wireshark.

use super::lab::Folder;
use crate::peer::keys::{SECRET_LENGTH, Session};
use crate::peer::{Direction, KeyLog, SaName};
use control::message::{Endpoints, TunnelKind};
use dataplane::id::Spi;
use dataplane::sa::Algorithm;
use proptest::prelude::*;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use zeroize::Zeroizing;

fn session(local: &str, peer: &str, secret: u8) -> Session {
    Session::new(local, peer, Zeroizing::new([secret; SECRET_LENGTH])).0
}

/// Small ranges, so that parts of names often coincide.
fn sa_name() -> impl Strategy<Value = SaName> {
    let address = prop_oneof![
        (0..3u8).prop_map(|n| IpAddr::from([192, 0, 2, n])),
        (0..3u16).prop_map(|n| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n])),
    ];
    let direction = prop_oneof![Just(Direction::Inbound), Just(Direction::Outbound)];
    let kind = prop_oneof![Just(TunnelKind::Esp), Just(TunnelKind::EspUdp)];
    (direction, address.clone(), address, 0..3u64, 256..259u32, (kind, 0..3u16)).prop_map(
        |(direction, local, remote, generation, spi, (kind, number))| SaName {
            direction,
            tunnel: Endpoints { kind, number, ..Endpoints::new(local, remote) },
            generation,
            spi: Spi(spi),
        },
    )
}

/// The same SA, named by the other end.
fn mirrored(name: SaName) -> SaName {
    let direction = match name.direction {
        Direction::Inbound => Direction::Outbound,
        Direction::Outbound => Direction::Inbound,
    };
    let tunnel = name.tunnel.turned();
    SaName { direction, tunnel, ..name }
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(&Algorithm::ALL[..])
}

proptest! {
    #[test]
    fn both_ends_derive_one_key_and_no_other_sa_has_it(
        one in sa_name(), other in sa_name(), for_one in algorithm(), for_other in algorithm(),
    ) {
        let (a1, b1) = (session("a1", "b1", 7), session("b1", "a1", 7));
        let key = a1.sa_key(&one, for_one);
        prop_assert_eq!(key.keymat().len(), for_one.keymat_length());
        prop_assert!(key == b1.sa_key(&mirrored(one), for_one));
        let second = a1.sa_key(&other, for_other);
        prop_assert_eq!(one == other && for_one == for_other, key == second);
        if one != other || for_one != for_other {
            prop_assert_ne!(&key.keymat()[..16], &second.keymat()[..16]);
        }
        prop_assert!(key != session("a1", "b1", 8).sa_key(&one, for_one));
        prop_assert!(key != session("a1b", "1", 7).sa_key(&one, for_one) || one.direction == Direction::Outbound);
    }
}

/// HKDF-Expand by hand for one name: T(1) = HMAC(secret, info ‖ 1), as RFC 5869 §2.3 has it.
#[test]
fn the_derivation_is_hkdf_expand_over_the_documented_name() {
    use aws_lc_rs::hmac;
    let name = SaName {
        direction: Direction::Inbound,
        tunnel: Endpoints::new(IpAddr::from([192, 0, 2, 20]), "2001:db8::1".parse().unwrap()),
        generation: 5,
        spi: Spi(0xabcd),
    };
    let mut info = vec![0, 20, 0, 2, b'b', b'1', 6, 0x20, 1, 0x0d, 0xb8];
    info.extend([0; 11]);
    info.extend([1, 4, 192, 0, 2, 20]);
    info.extend([0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0xab, 0xcd, 1]);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), &info);
    let key = session("b1", "a1", 7).sa_key(&name, Algorithm::Aes128Gcm);
    assert_eq!(key.keymat(), &tag.as_ref()[..20]);
    assert!(!format!("{key:?} {:?}", session("b1", "a1", 7)).contains('7'));
}

#[test]
fn the_key_log_is_private_and_has_wiresharks_columns() {
    let folder = Folder::new();
    let path = folder.path().join("esp_sa");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let log = KeyLog::open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let name = SaName {
        direction: Direction::Outbound,
        tunnel: Endpoints::new(IpAddr::from([192, 0, 2, 11]), IpAddr::from([192, 0, 2, 20])),
        generation: 1,
        spi: Spi(0xabcd),
    };
    let key = session("a1", "b1", 7).sa_key(&name, Algorithm::Aes128Gcm);
    log.append(&name, &key).unwrap();
    log.append(&name, &key).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let hex = |octets: &[u8]| octets.iter().map(|o| format!("{o:02x}")).collect::<String>();
    let line = format!(
        "\"IPv4\",\"192.0.2.11\",\"192.0.2.20\",\"0x0000abcd\",\"AES-GCM with 16 octet ICV [RFC4106]\",\"0x{}\",\"NULL\",\"\"\n",
        hex(key.keymat()),
    );
    assert_eq!(text, line.repeat(2));
    std::os::unix::fs::symlink(&path, folder.path().join("link")).unwrap();
    assert!(KeyLog::open(&folder.path().join("link")).is_err());
}
