//! Each provider opens what the other sealed, to the byte.

use super::packet::Jumbo;
use super::providers;
use dataplane::id::Spi;
use dataplane::packet::Packet;
use dataplane::replay::WindowSize;
use dataplane::sa::{AeadProvider, Algorithm, InboundSa, Limits, OutboundSa, SaError, SaKey};
use proptest::prelude::*;

const LIMITS: Limits = Limits { soft: 1 << 20, hard: 1 << 20 };

fn outbound(provider: &dyn AeadProvider, algorithm: Algorithm, keymat: &[u8], esn: bool) -> OutboundSa {
    let key = SaKey::new(provider, algorithm, &keymat[..algorithm.keymat_length()]).unwrap();
    OutboundSa::new(Spi(0x1001), key, LIMITS, esn).unwrap()
}

fn inbound(provider: &dyn AeadProvider, algorithm: Algorithm, keymat: &[u8], esn: bool) -> InboundSa {
    let key = SaKey::new(provider, algorithm, &keymat[..algorithm.keymat_length()]).unwrap();
    InboundSa::new(Spi(0x1001), key, WindowSize::default(), esn).unwrap()
}

/// Any length up to a jumbo frame's, short ones more often.
fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![0..200usize, 0..1600usize, 0..=9000usize], 1..8)
}

proptest! {
    #[test]
    fn one_seals_and_the_other_opens(
        algorithm in prop::sample::select(&Algorithm::ALL[..]),
        keymat in prop::array::uniform32(any::<u8>()),
        salt: [u8; 4],
        esn: bool,
        lengths in lengths(),
        seed: u8,
        flip in any::<prop::sample::Index>(),
    ) {
        let keymat = [&keymat[..], &salt].concat();
        let providers = providers();
        let mut outbound = providers.each_ref().map(|p| outbound(&**p, algorithm, &keymat, esn));
        let mut inbound = providers.each_ref().map(|p| inbound(&**p, algorithm, &keymat, esn));
        for length in lengths {
            let plain: Vec<u8> = (0..length).map(|n| (n as u8).wrapping_mul(seed | 1)).collect();
            let mut sealed = [Jumbo::new(&plain), Jumbo::new(&plain)];
            for (outbound, packet) in outbound.iter_mut().zip(&mut sealed) {
                outbound.seal(packet, 4).unwrap();
            }
            prop_assert_eq!(sealed[0].data(), sealed[1].data());
            sealed.swap(0, 1);
            for (inbound, packet) in inbound.iter_mut().zip(&mut sealed) {
                let mut forged = Jumbo::new(packet.data());
                // Beyond the SPI, whose change the SA sees before it asks the AEAD.
                let bit = 32 + flip.index((forged.len() - 4) * 8);
                forged.data_mut()[bit / 8] ^= 1 << (bit % 8);
                let refused = inbound.open(&mut forged);
                prop_assert!(matches!(refused, Err(SaError::Authentication | SaError::Replay)), "{:?}", refused);
                prop_assert_eq!(inbound.open(packet), Ok(4));
                prop_assert_eq!(packet.data(), &plain[..]);
            }
        }
    }
}
