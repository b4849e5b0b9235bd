"""The oracle over captured ESP says what it is asked to say; without namespaces."""
import struct
import tempfile
import unittest
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..nonces import Sa, check

KEY, SPI = bytes(range(20)), 0x1234


def sealed(sequence: int, iv: int, text: bytes, spi: int = SPI) -> bytes:
    """ESP as an engine seals it."""
    head, nonce = struct.pack("!II", spi, sequence), struct.pack("!Q", iv)
    return head + nonce + AESGCM(KEY[:-4]).encrypt(KEY[-4:] + nonce, text, head)


def framed(esp: bytes, vlan: bool = False, udp: bool = False) -> bytes:
    if udp:
        esp = struct.pack("!HHHH", 4500, 4500, 8 + len(esp), 0) + esp
    header = struct.pack("!BBHIBBH8x", 0x45, 0, 20 + len(esp), 0, 64, 17 if udp else 50, 0)
    return bytes(12) + (b"\x81\x00\x00\x05" if vlan else b"") + b"\x08\x00" + header + esp


class Oracle(unittest.TestCase):
    def check(self, *captures: list[bytes], cut: int = 0):
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for number, frames in enumerate(captures):
                records = b"".join(struct.pack("<IIII", 0, 0, len(f), len(f)) + f for f in frames)
                paths.append(Path(folder, f"{number}.pcap"))
                head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
                paths[-1].write_bytes((head + records)[:len(head + records) - cut])
            return check(paths, [Sa(SPI, KEY), Sa(SPI + 1, KEY)])

    def test_distinct_nonces_are_clean_and_copies_are_no_repeats(self):
        frames = [framed(sealed(n, 1 << 48 | n, b"x" * 32), vlan=n % 2 == 0, udp=n > 7) for n in range(1, 11)]
        verdict = self.check(frames, frames[:4])
        self.assertTrue(verdict.clean)
        self.assertEqual((verdict.nonces, verdict.copies, verdict.forged), (10, 4, 0))
        self.assertEqual(verdict.epochs, {SPI: [1]})
        # A capture that a killed tcpdump left behind.
        self.assertEqual(self.check(frames, cut=5).nonces, 9)

    def test_one_nonce_for_two_packets_is_found(self):
        a, b = framed(sealed(7, 1 << 48 | 7, b"a" * 32)), framed(sealed(7, 1 << 48 | 7, b"b" * 32))
        for captures in ([a, b],), ([a], [b]):
            verdict = self.check(*captures)
            self.assertFalse(verdict.clean)
            self.assertEqual([r.iv for r in verdict.repeats], ["0001000000000007"])
        # Under another SPI of the same key, and under another sequence number: the nonce is what counts.
        other = framed(sealed(9, 1 << 48 | 7, b"b" * 32, SPI + 1))
        self.assertEqual(len(self.check([a, other]).repeats), 1)

    def test_what_does_not_open_proves_nothing(self):
        good = framed(sealed(7, 1 << 48 | 7, b"a" * 32))
        verdict = self.check([good, good[:-1] + bytes([good[-1] ^ 1])])
        self.assertTrue(verdict.clean)
        self.assertEqual(verdict.forged, 1)
        self.assertFalse(self.check([]).clean, "nothing looked at is no proof")
