use super::*;
use crate::frame::Frame;
use proptest::prelude::*;
use std::collections::BTreeSet;

const SPI: Spi = Spi(0x1001);
const LIMITS: Limits = Limits { soft: 1 << 30, hard: 1 << 40 };

fn hex(s: &str) -> Vec<u8> {
    (0..s.len() / 2).map(|n| u8::from_str_radix(&s[2 * n..2 * n + 2], 16).unwrap()).collect()
}

fn algorithm(key_bytes: u8) -> Algorithm {
    if key_bytes == 16 { Algorithm::Aes128Gcm } else { Algorithm::Aes256Gcm }
}

/// 00 01 02 … and the salt ca fe ba be.
fn keymat(key_bytes: u8) -> Vec<u8> {
    [(0..key_bytes).collect(), hex("cafebabe")].concat()
}

fn key(bytes: u8) -> SaKey {
    SaKey::new(&AwsLc, algorithm(bytes), &keymat(bytes)).unwrap()
}

fn pair(bytes: u8, esn: bool) -> (OutboundSa, InboundSa) {
    let outbound = OutboundSa::new(SPI, key(bytes), LIMITS, esn).unwrap();
    (outbound, InboundSa::new(SPI, key(bytes), WindowSize::default(), esn).unwrap())
}

/// One packet as scapy seals it.
struct Vector {
    key_bytes: u8,
    spi: u32,
    seq: u64,
    esn: bool,
    next_header: u8,
    inner: &'static str,
    sealed: &'static str,
}

/// Made once with scapy 2.5.0 and cryptography 38.0.4, without the outer IP header:
/// `SecurityAssociation(ESP, spi=spi, crypt_algo="AES-GCM", crypt_key=key+salt,
/// tunnel_header=IP(src="192.0.2.1", dst="192.0.2.2"), esn_en=esn, esn=seq>>32)
/// .encrypt(inner, seq_num=seq&0xffffffff, iv=struct.pack("!Q", seq), esn_en=esn, esn=seq>>32)`.
/// The inner packets need 2, 1, 0 and 3 bytes of padding among them.
const SCAPY: [Vector; 5] = [
    Vector {
        key_bytes: 16,
        spi: 0x1001,
        seq: 1,
        esn: false,
        next_header: 4,
        inner: "4500001c00010000401165cf0a0000010a000101000100020008ead9",
        sealed: "00001001000000010000000000000001f70519854a7e51f4db0aa4d24c7fa936d9688041b9f64887febdf52d76ef2b3f\
                 4d5490c89b51b098df67d35ab34ffbec",
    },
    Vector {
        key_bytes: 16,
        spi: 0x1001,
        seq: 2,
        esn: true,
        next_header: 4,
        inner: "4500001d00010000401165ce0a0000010a00010100010002000972d778",
        sealed: "00001001000000020000000000000002eca9b9600cd82114835fbce27e7ea90361a2b1a58a58c6a5d6946f0cfda8ea9b\
                 bea2ead91ca44300e99c05b3d75463d9",
    },
    Vector {
        key_bytes: 32,
        spi: 0xffff_fffe,
        seq: 1,
        esn: true,
        next_header: 41,
        inner: "60000000000a114020010db800000000000000000000000120010db80001000000000000000000010001\
                0002000a43006162",
        sealed: "fffffffe000000010000000000000001e8929a8469ec3d615ca8679cae643e67d6862416680bae6ed691d912b44c4c6c\
                 e5e6ddc327891c0a684f9656f511dd3d01a299e577208e2f30c15c670b71277f3f3cbc27",
    },
    Vector {
        key_bytes: 32,
        spi: 0xffff_fffe,
        seq: 0xffff_ffff,
        esn: false,
        next_header: 41,
        inner: "60000000000b114020010db800000000000000000000000120010db80001000000000000000000010001\
                0002000bdffd616263",
        sealed: "fffffffeffffffff00000000ffffffff5f415c882ebbabacd8c3fcf3b21ae0f7ec9b95f9569375413a004cf30df5c4f8\
                 72dab47a914dc621501837d2159a73e804cd513368b8a0999b106aed4dbefce3d80a5da8e1ba8a03",
    },
    Vector {
        key_bytes: 32,
        spi: 0x1001,
        seq: (5 << 32) + 7,
        esn: true,
        next_header: 4,
        inner: "4500002000010000401165cb0a0000010a00010100010002000c260b61626364",
        sealed: "000010010000000700000005000000076a5068635775619f0658fbfe734971c392950b87779ee6df18e82851ee8929d8\
                 defa3cb18dba82710ba2102dc88327f7bb7eb5a2",
    },
];

#[test]
fn seals_and_opens_as_scapy_does() {
    for vector in SCAPY {
        let mut outbound =
            OutboundSa::new(Spi(vector.spi), key(vector.key_bytes), LIMITS, vector.esn).unwrap();
        outbound.seq = vector.seq - 1;
        let mut packet = Frame::new(&hex(vector.inner));
        outbound.seal(&mut packet, vector.next_header).unwrap();
        assert_eq!(packet.data(), hex(vector.sealed));

        let window = WindowSize::new(64).unwrap();
        let mut inbound = InboundSa::new(Spi(vector.spi), key(vector.key_bytes), window, vector.esn).unwrap();
        if vector.seq > 1 {
            inbound.window.accept(vector.seq - 1).unwrap();
        }
        assert_eq!(inbound.open(&mut packet), Ok(vector.next_header));
        assert_eq!(packet.data(), hex(vector.inner));
        assert_eq!(inbound.top(), vector.seq);
    }
}

/// draft-mcgrew-gcm-test-01 §4, of which the next header is 1: decrypted and authentic, and refused
/// for that alone. The IV is not the sequence number, and only the receiver infers the high half.
#[test]
fn opens_the_vectors_of_mcgrew() {
    let cases = [
        (
            "4c80cdefbb5d10da906ac73c3613a6342e443b68",
            (0x4321, 0x8765_4321_0000_0000u64, true),
            "4956ed7e3b244cfe",
            "45000048699a000080114db7c0a80102c0a801010a9bf15638d301000001000000000000045f736970045f75647003\
             7369700963796265726369747902646b000021000101020201",
            "fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34cfa2436f14a3f3cf65925bf1f4a13c\
             5d15b21e1884f5ff6247aeabb786b93bce61bc17d768fd9732459018148f6cbe722fd04796562dfdb4",
        ),
        (
            "abbccddef00112233445566778899aababbccddef00112233445566778899aab11223344",
            (0x4a2c_bfe3, 2, false),
            "0102030405060708",
            "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee0000000007002400020bf0000020405b4010104\
             0201020201",
            "ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763748a637985771d347f0545659f14e9\
             9def842d8eb335f4eecfdbf831824b4c4915956c96",
        ),
    ];
    for (keymat, (spi, seq, esn), iv, plain, sealed) in cases {
        let keymat = hex(keymat);
        let key = SaKey::new(&AwsLc, algorithm((keymat.len() - 4) as u8), &keymat).unwrap();
        let mut inbound = InboundSa::new(Spi(spi), key, WindowSize::default(), esn).unwrap();
        inbound.window.accept(seq - 1).unwrap();
        let front = [&spi.to_be_bytes()[..], &(seq as u32).to_be_bytes(), &hex(iv)].concat();
        let mut packet = Frame::new(&[front, hex(sealed)].concat());
        assert_eq!(inbound.open(&mut packet), Err(SaError::NextHeader));
        let plain = hex(plain);
        assert_eq!(packet.data()[FRONT..FRONT + plain.len()], plain);
        assert_eq!(inbound.top(), seq);
    }
}

/// RFC 6054 §3: senders of one key are told apart by the upper bits of their IVs, and none of them leaves its part.
#[test]
fn partitions_of_a_key_share_no_nonce() {
    let part = |epoch: u16, first, count| Partition { epoch: epoch.try_into().unwrap(), first, count };
    let make = |part, esn| OutboundSa::partitioned(SPI, key(16), part, esn);
    let (mut ivs, inner) = (BTreeSet::new(), hex(SCAPY[0].inner));
    for (epoch, first) in [(1, 1), (2, 5), (3, 9)] {
        let mut sa = make(part(epoch, first, 4), false).unwrap();
        for number in first..first + 4 {
            assert_eq!(sa.needs_rekey(), number > first + 2);
            let mut packet = Frame::new(&inner);
            sa.seal(&mut packet, 4).unwrap();
            assert_eq!(packet.data()[4..8], (number as u32).to_be_bytes());
            let iv = u64::from_be_bytes(packet.data()[8..16].try_into().unwrap());
            assert_eq!((iv >> 48, iv << 16 >> 16), (u64::from(epoch), number));
            assert!(ivs.insert(iv));
            let mut inbound = InboundSa::new(SPI, key(16), WindowSize::default(), false).unwrap();
            assert_eq!(inbound.open(&mut packet), Ok(4), "the receiver needs to know nothing of it");
        }
        assert_eq!(sa.seal(&mut Frame::new(&inner), 4), Err(SaError::SeqExhausted));
    }
    for (bad, esn) in [
        (part(1, 0, 4), true),
        (part(1, 1, 0), true),
        (part(1, 1, 1 << 48), true),
        (part(1, 1 << 31, 1 << 32), false),
    ] {
        assert_eq!(make(bad, esn).err(), Some(SaConfigError::Limits), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn what_is_sealed_opens_once(aes256: bool, esn: bool, v6: bool,
        inner in prop::collection::vec(any::<u8>(), 1..1501))
    {
        let (mut outbound, mut inbound) = pair(if aes256 { 32 } else { 16 }, esn);
        let next_header = if v6 { 41 } else { 4 };
        let mut packet = Frame::new(&inner);
        outbound.seal(&mut packet, next_header).unwrap();
        prop_assert_eq!(packet.len(), inner.len() + esp_overhead(inner.len()));
        prop_assert_eq!(packet.len() % 4, 0);
        let mut behind = Frame::new(&inner);
        pair(if aes256 { 32 } else { 16 }, esn).0.seal_behind(&mut behind, next_header, 20).unwrap();
        prop_assert_eq!(&behind.data()[20..], packet.data());
        let mut again = Frame::new(packet.data());
        prop_assert_eq!(inbound.open(&mut packet), Ok(next_header));
        prop_assert_eq!(packet.data(), inner);
        prop_assert_eq!(inbound.open(&mut again), Err(SaError::Replay));
    }

    #[test]
    fn any_flipped_bit_is_refused(esn: bool, inner in prop::collection::vec(any::<u8>(), 1..200),
        at in any::<prop::sample::Index>())
    {
        let (mut outbound, mut inbound) = pair(16, esn);
        let mut packet = Frame::new(&inner);
        outbound.seal(&mut packet, 4).unwrap();
        let whole = Frame::new(packet.data());
        let bit = at.index(packet.len() * 8);
        packet.data_mut()[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(inbound.open(&mut packet).is_err());
        prop_assert_eq!(inbound.top(), 0, "a forgery must not move the window");
        let mut whole = whole;
        prop_assert_eq!(inbound.open(&mut whole), Ok(4));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let (_, mut inbound) = pair(32, true);
        let mut bytes = bytes;
        bytes.iter_mut().zip(SPI.0.to_be_bytes()).for_each(|(byte, spi)| *byte = spi);
        prop_assert!(inbound.open(&mut Frame::new(&bytes)).is_err());
    }
}

/// Seals `plaintext`, trailer and all, as an authentic but odd peer would.
fn sealed_raw(plaintext: &[u8]) -> Frame {
    let iv = 1u64.to_be_bytes();
    let (mut bytes, mut icv) = (plaintext.to_vec(), [0; ICV_LENGTH]);
    key(16).into_aead().seal(iv, aad(SPI, 1, false), &mut bytes, &mut icv).unwrap();
    Frame::new(&[&SPI.0.to_be_bytes()[..], &1u32.to_be_bytes(), &iv, &bytes, &icv].concat())
}

#[test]
fn an_authentic_packet_may_still_be_wrong() {
    for (plaintext, expected) in [
        (&[0x45, 1, 2, 2, 4][..], Ok(4)),
        (&[0x45, 1, 3, 2, 4], Err(SaError::Padding)),
        (&[0x45, 4, 4], Err(SaError::Padding)),
        (&[0x45, 0, 6], Err(SaError::NextHeader)),
        (&[0, 0, 59], Err(SaError::Dummy)),
    ] {
        let (_, mut inbound) = pair(16, false);
        assert_eq!(inbound.open(&mut sealed_raw(plaintext)), expected);
        assert_eq!(inbound.open(&mut sealed_raw(plaintext)), Err(SaError::Replay));
    }
    let (_, mut inbound) = pair(16, false);
    assert_eq!(inbound.open(&mut Frame::new(&[0; 33])), Err(SaError::Truncated));
    let mut other = InboundSa::new(Spi(0x1002), key(16), WindowSize::default(), false).unwrap();
    assert_eq!(other.open(&mut sealed_raw(&[0x45, 0, 4])), Err(SaError::WrongSpi));
}

#[test]
fn the_counter_ends_and_never_cycles() {
    for (esn, hard, last) in
        [(false, u64::MAX, u64::from(u32::MAX)), (true, u64::MAX, u64::MAX), (true, 9, 9)]
    {
        let limits = Limits { soft: 8, hard };
        let mut outbound = OutboundSa::new(SPI, key(16), limits, esn).unwrap();
        outbound.seq = last - 1;
        outbound.seal(&mut Frame::new(&[0x45]), 4).unwrap();
        assert_eq!(outbound.sent(), last);
        for _ in 0..3 {
            let mut packet = Frame::new(&[0x45]);
            assert_eq!(outbound.seal(&mut packet, 4), Err(SaError::SeqExhausted));
            assert_eq!(packet.data(), [0x45], "nothing was written");
        }
        assert!(outbound.needs_rekey());
    }
}

#[test]
fn the_soft_limit_asks_for_a_successor() {
    let mut outbound = OutboundSa::new(SPI, key(16), Limits { soft: 2, hard: 9 }, false).unwrap();
    outbound.seal(&mut Frame::new(&[0x45]), 4).unwrap();
    assert!(!outbound.needs_rekey());
    outbound.seal(&mut Frame::new(&[0x45]), 4).unwrap();
    assert!(outbound.needs_rekey());
}

#[test]
fn without_room_no_number_is_used() {
    let (mut outbound, _) = pair(16, false);
    let mut no_tail = Frame::new(&[0x45; 2048]);
    assert_eq!(outbound.seal(&mut no_tail, 4), Err(SaError::NoRoom));
    let mut no_head = Frame::new(&[0x45; 64]);
    assert!(no_head.prepend(120).is_some());
    assert_eq!(outbound.seal(&mut no_head, 4), Err(SaError::NoRoom));
    assert_eq!((outbound.sent(), no_head.len()), (0, 184));
    assert_eq!(outbound.seal(&mut Frame::new(&[0x45]), 17), Err(SaError::NextHeader));
}

#[test]
fn what_cannot_be_an_sa_is_refused_and_keys_stay_secret() {
    assert!(matches!(
        OutboundSa::new(Spi(255), key(16), LIMITS, true),
        Err(SaConfigError::ReservedSpi(Spi(255)))
    ));
    for (soft, hard) in [(0, 9), (10, 9)] {
        assert!(matches!(
            OutboundSa::new(SPI, key(16), Limits { soft, hard }, true),
            Err(SaConfigError::Limits)
        ));
    }
    for algorithm in Algorithm::ALL {
        for length in (0..40).filter(|&length| length != algorithm.keymat_length()) {
            let error = SaKey::new(&AwsLc, algorithm, &vec![0; length]).unwrap_err();
            assert_eq!(error, SaKeyError { algorithm, length });
        }
    }
    let (outbound, inbound) = pair(16, true);
    assert_eq!(format!("{:?}", key(16)), "SaKey(aes-128-gcm, redacted)");
    assert_eq!(format!("{outbound:?}"), "OutboundSa { spi: Spi(4097), seq: 0, .. }");
    assert_eq!(format!("{inbound:?}"), "InboundSa { spi: Spi(4097), top: 0, .. }");
}
