"""Tunnels to gateways of other makes; scripts/interop prints the same as a table."""
import shutil
import unittest
from pathlib import Path

from ..interop import CASES, Interop, right
from ..ovs import SCHEMA
from ..wireguard import installed


class ForeignGateways(unittest.TestCase):
    """Those that are installed here: scripts/interop installs them all."""

    def test_packets_go_both_ways(self):
        absent = set()
        if not SCHEMA.is_file() or not shutil.which("ovs-vswitchd"):
            absent.add("ovs")
        if not Path("/usr/share/dpdk/examples/ipsec-secgw").is_dir():
            absent.add("secgw")
        cases = [case for case in CASES if case.peer not in absent and case.protocol != "wireguard"]
        with Interop(cases) as lab:
            rows = lab.rows()
            self.assertEqual({text.split()[1] for text in lab.epochs()}, {"1"})
            # ipsec-secgw refuses replays: its key's numbers go on after a restart, and its nonces' epoch is a new one.
            lab.restart()
            self.assertEqual({text.split()[1] for text in lab.epochs()}, {"2"})
            rows += lab.rows(("esp", "esp-udp"))
            for row in rows:
                with self.subTest(f"{row['peer']} {row['protocol']} {row['inner']}"):
                    self.assertTrue(right(row), row)
            read = lab.scapy_counts()
            # Nothing beside the protocols: no packet that scapy found fault with.
            protocols = {case.protocol for case in cases if case.peer == "scapy"}
            self.assertEqual(set(read), protocols, read)
            drops = lab.engine.packet_counts()["dropped"]
            self.assertEqual([name for name in drops if name.startswith(("bad_", "unknown_", "auth"))], [], drops)


@unittest.skipUnless(installed(), "wireguard-go is not installed: scripts/setup installs it")
class WireGuard(unittest.TestCase):
    """A stock userspace WireGuard."""

    def test_a_session_lives(self):
        cases = [case for case in CASES if case.protocol == "wireguard"]
        with Interop(cases) as lab:
            for row in (*lab.rows(), *lab.wireguard_rows()):
                with self.subTest(row):
                    self.assertTrue(right(row), lab.engine.last_words())
