//! The vectors that the RFCs and their authors published for ESP.

use super::{hex, key, providers};
use dataplane::id::Spi;
use dataplane::sa::{Aad, Algorithm, Forged};

struct Vector {
    algorithm: Algorithm,
    keymat: &'static str,
    aad: Aad<'static>,
    iv: &'static str,
    plain: &'static str,
    /// With the ICV.
    sealed: &'static str,
}

const VECTORS: [Vector; 3] = [
    // RFC 7634 Appendix A.
    Vector {
        algorithm: Algorithm::ChaCha20Poly1305,
        keymat: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3",
        aad: Aad::Seq(Spi(0x0102_0304), 5),
        iv: "1011121314151617",
        plain: "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b0c0d0e0f101112131\
                415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363701020204",
        sealed: "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f\
                 72aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da9165b82829f641e076aaa8266b7fb0f7\
                 b11b369907e1ad43",
    },
    // draft-mcgrew-gcm-test-01 §4, with extended sequence numbers.
    Vector {
        algorithm: Algorithm::Aes128Gcm,
        keymat: "4c80cdefbb5d10da906ac73c3613a6342e443b68",
        aad: Aad::Esn(Spi(0x4321), 0x8765_4321_0000_0000),
        iv: "4956ed7e3b244cfe",
        plain: "45000048699a000080114db7c0a80102c0a801010a9bf15638d301000001000000000000045f736970045f75647003736\
                9700963796265726369747902646b0000210001010202010",
        sealed: "fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34cfa2436f14a3f3cf65925bf1f4a13c5d1\
                 5b21e1884f5ff6247aeabb786b93bce61bc17d768fd9732459018148f6cbe722fd04796562dfdb4",
    },
    // The same draft, AES-256 and 32-bit sequence numbers.
    Vector {
        algorithm: Algorithm::Aes256Gcm,
        keymat: "abbccddef00112233445566778899aababbccddef00112233445566778899aab11223344",
        aad: Aad::Seq(Spi(0x4a2c_bfe3), 2),
        iv: "0102030405060708",
        plain: "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee0000000007002400020bf0000020405b40101040201\
                020201",
        sealed: "ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763748a637985771d347f0545659f14e99de\
                 f842d8eb335f4eecfdbf831824b4c4915956c96",
    },
];

#[test]
fn both_providers_agree_with_the_published_vectors() {
    for provider in providers() {
        for vector in VECTORS {
            let name = format!("{} by {}", vector.algorithm, provider.name());
            let key = key(&*provider, vector.algorithm, &hex(vector.keymat));
            let iv: [u8; 8] = hex(vector.iv).try_into().unwrap();
            let (plain, sealed) = (hex(vector.plain), hex(vector.sealed));
            let (ciphertext, icv) = sealed.split_last_chunk::<16>().unwrap();

            let (mut text, mut tag) = (plain.clone(), [0; 16]);
            key.seal(iv, vector.aad, &mut text, &mut tag).unwrap();
            assert_eq!((&text[..], &tag), (ciphertext, icv), "{name}");
            assert_eq!(key.open(iv, vector.aad, &mut text, &tag), Ok(()), "{name}");
            assert_eq!(text, plain, "{name}");

            // A forgery gives nothing away: the text is erased.
            for bit in 0..128 {
                let (mut text, mut icv) = (ciphertext.to_vec(), *icv);
                icv[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(key.open(iv, vector.aad, &mut text, &icv), Err(Forged), "{name}, bit {bit}");
                assert!(text.iter().all(|&byte| byte == 0), "{name}, bit {bit}");
            }
        }
    }
}
