//! A packet sealed with a session's key, and Wireshark reading it with the key log.

use super::lab::Folder;
use crate::peer::keys::{SECRET_LENGTH, Session};
use crate::peer::{Direction, KeyLog, SaKey, SaName};
use aws_lc_rs::aead;
use control::message::Endpoints;
use dataplane::id::Spi;
use dataplane::sa::Algorithm;
use std::net::IpAddr;
use std::process::Command;
use zeroize::Zeroizing;

/// Wireshark knows ChaCha20-Poly1305 from 4.2 on only; Debian 12 has 4.0.
const AES: [Algorithm; 3] = [Algorithm::Aes128Gcm, Algorithm::Aes192Gcm, Algorithm::Aes256Gcm];

#[test]
fn tshark_decrypts_esp_with_the_key_log() {
    if Command::new("tshark").arg("--version").output().is_err() {
        println!("skipped: tshark is not installed");
        return;
    }
    let folder = Folder::new();
    let session = Session::new("a1", "b1", Zeroizing::new([3; SECRET_LENGTH])).0;
    std::fs::create_dir(folder.path().join("wireshark")).unwrap();
    let log = KeyLog::open(&folder.path().join("wireshark/esp_sa")).unwrap();
    let mut capture = pcap_header();
    for (spi, algorithm) in (0xff01_abcd..).zip(AES) {
        let tunnel = Endpoints::new(IpAddr::from([192, 0, 2, 11]), IpAddr::from([192, 0, 2, 20]));
        let name = SaName { direction: Direction::Outbound, tunnel, generation: 1, spi: Spi(spi) };
        let key = session.sa_key(&name, algorithm);
        log.append(&name, &key).unwrap();
        let packet = ipv4(50, [192, 0, 2, 11], [192, 0, 2, 20], &esp(spi, &key));
        capture.extend([[0; 8], (packet.len() as u64 * 0x1_0000_0001).to_le_bytes()].concat());
        capture.extend(packet);
    }
    let file = folder.path().join("esp.pcap");
    std::fs::write(&file, capture).unwrap();
    let output = Command::new("tshark")
        .env("XDG_CONFIG_HOME", folder.path())
        .args([
            "-o",
            "esp.enable_encryption_decode:TRUE",
            "-T",
            "fields",
            "-e",
            "ip.dst",
            "-e",
            "udp.dstport",
        ])
        .arg("-r")
        .arg(file)
        .output()
        .unwrap();
    let read = String::from_utf8_lossy(&output.stdout);
    let expected = "192.0.2.20,10.2.0.7\t9\n".repeat(AES.len());
    assert_eq!(read, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

/// libpcap's file header; raw IP packets follow.
fn pcap_header() -> Vec<u8> {
    [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 101].iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn ipv4(protocol: u8, source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0, (length >> 8) as u8, length as u8, 0, 0, 0, 0, 64, protocol, 0, 0];
    packet.extend([source, destination].concat());
    packet.extend(payload);
    packet
}

/// ESP in tunnel mode with a UDP datagram inside (RFC 4303 §2, RFC 4106 §4–5).
fn esp(spi: u32, key: &SaKey) -> Vec<u8> {
    let udp = [&[0x12, 0x34, 0, 9, 0, 12, 0, 0][..], b"data"].concat();
    let mut sealed = ipv4(17, [10, 1, 0, 5], [10, 2, 0, 7], &udp);
    // 32 octets and two of trailer need two of padding.
    sealed.extend([1, 2, 2, 4]);
    let header = [spi.to_be_bytes(), 1u32.to_be_bytes()].concat();
    let iv = 1u64.to_be_bytes();
    let mut nonce = [0; 12];
    let (aead_key, salt) = key.keymat().split_last_chunk::<4>().unwrap();
    nonce[..4].copy_from_slice(salt);
    nonce[4..].copy_from_slice(&iv);
    let cipher = match key.algorithm() {
        Algorithm::Aes128Gcm => &aead::AES_128_GCM,
        Algorithm::Aes192Gcm => &aead::AES_192_GCM,
        Algorithm::Aes256Gcm => &aead::AES_256_GCM,
        Algorithm::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
    };
    aead::LessSafeKey::new(aead::UnboundKey::new(cipher, aead_key).unwrap())
        .seal_in_place_append_tag(
            aead::Nonce::assume_unique_for_key(nonce),
            aead::Aad::from(&header),
            &mut sealed,
        )
        .unwrap();
    [header.as_slice(), &iv, &sealed].concat()
}
