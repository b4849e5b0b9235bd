//! Project Wycheproof's vectors, those with ESP's nonce and ICV lengths.

use super::{key, providers};
use dataplane::sa::{Aad, AeadKey, Algorithm};
use wycheproof::TestResult;
use wycheproof::aead::{Test, TestName, TestSet};

/// Tests run, by what was expected of them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ran {
    valid: usize,
    invalid: usize,
}

fn algorithm(name: TestName, key_bits: usize) -> Algorithm {
    match (name, key_bits) {
        (TestName::AesGcm, 128) => Algorithm::Aes128Gcm,
        (TestName::AesGcm, 192) => Algorithm::Aes192Gcm,
        (TestName::AesGcm, 256) => Algorithm::Aes256Gcm,
        (TestName::ChaCha20Poly1305, 256) => Algorithm::ChaCha20Poly1305,
        other => panic!("a group of {other:?}"),
    }
}

fn run(name: TestName) -> Ran {
    let mut ran = Ran::default();
    let set = TestSet::load(name).expect("the vectors are readable");
    for group in set.test_groups.iter().filter(|group| group.nonce_size == 96 && group.tag_size == 128) {
        for test in &group.tests {
            // RFC 4106 §4: the nonce is the salt, from the keying material, and the IV.
            let keymat = [&test.key[..], &test.nonce[..4]].concat();
            for provider in providers() {
                let key = key(&*provider, algorithm(name, group.key_size), &keymat);
                check(&*key, test, &format!("{name:?} {} by {}", test.tc_id, provider.name()));
            }
            match test.result {
                TestResult::Valid => ran.valid += 1,
                TestResult::Invalid => ran.invalid += 1,
                TestResult::Acceptable => panic!("{name:?} {}: neither right nor wrong", test.tc_id),
            }
        }
    }
    ran
}

fn check(key: &dyn AeadKey, test: &Test, name: &str) {
    let iv: [u8; 8] = test.nonce[4..].try_into().unwrap();
    let expected: [u8; 16] = test.tag[..].try_into().unwrap();
    let aad = Aad::Bytes(&test.aad);

    let (mut text, mut tag) = (test.pt.to_vec(), [0; 16]);
    key.seal(iv, aad, &mut text, &mut tag).unwrap();
    let sealed_alike = text[..] == test.ct[..] && tag == expected;
    assert_eq!(sealed_alike, test.result == TestResult::Valid, "{name}: sealing");

    let mut text = test.ct.to_vec();
    let opened = key.open(iv, aad, &mut text, &expected).is_ok();
    assert_eq!(opened, test.result == TestResult::Valid, "{name}: opening");
    assert!(!opened || text[..] == test.pt[..], "{name}: plaintext");
}

/// Counts, so that no vector is left out in silence.
#[test]
fn both_providers_pass() {
    assert_eq!(run(TestName::AesGcm), Ran { valid: 116, invalid: 81 });
    assert_eq!(run(TestName::ChaCha20Poly1305), Ran { valid: 256, invalid: 60 });
}
