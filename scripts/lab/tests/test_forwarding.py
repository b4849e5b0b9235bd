"""Through ESP tunnels: what hosts expect of a network."""
import os
import re

from ..topology import GATEWAY_A4, GATEWAY_A6
from ..traffic import Load, Traffic, download
from .base import FAMILIES, EngineLab, received, tshark

UDP_SECONDS = float(os.environ.get("LAB_UDP_SECONDS", "10"))
A1 = {GATEWAY_A4, "10.1.0.2", "192.0.2.11", GATEWAY_A6, "fd00:a::2", "2001:db8:0:1::11"}
B1 = {"192.0.2.20", "10.2.0.1", "2001:db8:0:1::20", "fd00:b::1"}


def found_mtu(text: str) -> int:
    """The MTU that ping was told of (fragmentation needed, RFC 1191; packet too big, RFC 8201)."""
    values = [int(m) for m in re.findall(r"mtu ?= ?(\d+)", text)]
    return min(values, default=0)


class Forwarding(EngineLab):
    def test_ping(self):
        for family, address in FAMILIES:
            with self.subTest(family):
                self.assertEqual(received(self.ping(address)), 5)

    def test_ping_the_gateway(self):
        for address in (GATEWAY_A4, GATEWAY_A6):
            with self.subTest(address):
                self.assertEqual(received(self.ping(address)), 5)

    def test_traceroute_is_answered_by_the_engines(self):
        for family, address in FAMILIES:
            with self.subTest(family):
                out = self.host("ha", "traceroute", "-n", "-q", "1", "-w", "2", "-m", "5", address)
                hops = re.findall(r"^ *(\d+) +([0-9a-f.:]+) ", out, re.M)
                self.assertEqual(len(hops), 3, out)
                self.assertIn(hops[0][1], A1, out)
                self.assertIn(hops[1][1], B1, out)
                self.assertEqual(hops[2][1], address, out)

    def test_tcp_with_a_clamped_mss(self):
        for family, v6, header in (("IPv4", False, 40), ("IPv6", True, 60)):
            with self.subTest(family):
                with self.capture("hb", "eth0", "tcp port 9002 or ip6 proto 6") as path:
                    result = download(self.topo, v6)
                self.assertIsNone(result["error"])
                self.assertEqual(result["bytes"], 2_000_000)
                syn = tshark(path, "-Y", "tcp.flags.syn==1 && tcp.dstport==9002", "-e", "tcp.options.mss_val")
                mss = int(syn[0][0])
                self.assertLess(mss, 1500 - header, "hostA's SYN arrived with its MSS as sent")
                self.assertGreater(mss, 1200)
                # Clamped well: no segment needed an ICMP error to find its size.
                sizes = tshark(path, "-Y", "tcp.len>0", "-e", "tcp.len")
                self.assertLessEqual(max(int(s[0]) for s in sizes), mss)

    def test_a_too_large_df_packet_finds_the_path_mtu(self):
        for family, address, header in (("IPv4", FAMILIES[0][1], 28), ("IPv6", FAMILIES[1][1], 48)):
            with self.subTest(family):
                told = self.ping(address, "-M", "do", "-s", str(1500 - header), check=False)
                mtu = found_mtu(told)
                self.assertTrue(1280 <= mtu < 1500, told)
                self.assertEqual(received(self.ping(address, "-M", "do", "-s", str(mtu - header))), 5)

    def test_a_large_packet_without_df_is_fragmented(self):
        self.assertEqual(received(self.ping(FAMILIES[0][1], "-M", "dont", "-s", "1472")), 5)

    def test_udp_loses_and_reorders_nothing(self):
        for v6 in (False, True):
            with self.subTest("IPv6" if v6 else "IPv4"):
                traffic = Traffic(self.topo, Load(pps=1000, download_bps=0, v6=v6))
                self.wait(UDP_SECONDS)
                result = traffic.finish()
                self.assertGreater(result.total("sent"), 2 * 900 * UDP_SECONDS)
                self.assert_untouched(result)

    def test_drops_have_their_reason(self):
        before = self.engines["a1"].packet_counts()["dropped"]
        self.ping("10.9.9.9", check=False)  # no route to there
        after = self.engines["a1"].packet_counts()["dropped"]
        grown = {k: n - before.get(k, 0) for k, n in after.items() if n != before.get(k, 0)}
        self.assertTrue(any("route" in reason.lower() for reason in grown), f"no drop for want of a route: {grown}")
