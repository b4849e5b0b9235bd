//! The key of receive side scaling.

/// A Toeplitz key of `length` bytes with a period of 16 bits: swapping the addresses, and the ports, of a packet shifts
/// its input by a multiple of the period and so leaves its hash as it is. Both directions of a flow meet on one queue,
/// which a session and its NAT state need. (Woo and Park, "Scalable TCP session monitoring with symmetric
/// receive-side scaling", 2012.)
pub(super) fn symmetric_key(length: usize) -> Vec<u8> {
    [0x6d, 0x5a].into_iter().cycle().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::symmetric_key;

    /// Toeplitz as NICs compute it: for each set bit of the input, the 32 bits of the key that begin there.
    fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
        let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
        let window = |at: usize| (0..32).fold(0, |word, i| word << 1 | u32::from(bit(key, at + i)));
        (0..input.len() * 8).filter(|&at| bit(input, at) == 1).fold(0, |hash, at| hash ^ window(at))
    }

    /// The first vector of Microsoft's RSS verification suite: the oracle above is the NICs' function.
    #[test]
    fn the_oracle_is_toeplitz() {
        let key = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
            0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
            0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        // 66.9.149.187:2794 to 161.142.100.80:1766
        let input = [66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6];
        assert_eq!(toeplitz(&key, &input), 0x51cc_c178);
    }

    #[test]
    fn both_directions_hash_alike_and_flows_spread() {
        for (length, address) in [(40, 4), (52, 4), (40, 16), (52, 16)] {
            let key = symmetric_key(length);
            assert_eq!(key.len(), length);
            let mut queues = [0; 2];
            for flow in 0..1000_u32 {
                let side = |seed: u32| {
                    let random = seed.wrapping_mul(0x9e37_79b9).to_be_bytes();
                    (random.iter().cycle().take(address).copied().collect::<Vec<_>>(), [random[1], random[3]])
                };
                let ((a, port_a), (b, port_b)) = (side(2 * flow + 1), side(2 * flow + 2));
                let there = toeplitz(&key, &[&a[..], &b, &port_a, &port_b].concat());
                let back = toeplitz(&key, &[&b[..], &a, &port_b, &port_a].concat());
                assert_eq!(there, back);
                // The indirection table takes the low bits.
                queues[there as usize % 2] += 1;
            }
            assert!(queues.iter().all(|&flows| flows > 350), "{length} {address}: {queues:?}");
        }
    }
}
