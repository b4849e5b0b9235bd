"""The tunnels as an outsider reads them: tshark decodes the GRE and, with the exported keys, the ESP."""
from .. import configfile
from ..shell import run
from ..traffic import Load, Traffic, download
from .base import FAMILIES, EngineLab, received, tshark
from .test_forwarding import found_mtu


class Gre(EngineLab):
    """GRE with key and sequence, and no MSS clamping: TCP has to find the path MTU by itself."""

    @classmethod
    def change(cls, config):
        for group in config["group"]:
            group["mss_clamp"] = False
        return configfile.use_gre(super().change(config))

    def test_tshark_decodes_it(self):
        with self.capture("wan", "wb", "ip proto 47") as path:
            for _, address in FAMILIES:
                self.assertEqual(received(self.ping(address)), 5)
        rows = tshark(path, "-Y", "icmp || icmpv6", "-e", "gre.key", "-e", "gre.sequence_number", "-e", "ip.src",
                      "-e", "ipv6.src")
        v4 = [r for r in rows if "10.1.0.10" in r[2]]
        v6 = [r for r in rows if "fd00:a::10" in r[3]]
        self.assertEqual((len(v4), len(v6)), (5, 5))
        for row in v4 + v6:
            self.assertEqual(int(row[0], 0), 42)
        self.assertEqual(len({r[1] for r in v4 + v6}), 10, "sequence numbers repeat")
        malformed = tshark(path, "-Y", "_ws.malformed", "-e", "frame.number")
        self.assertEqual(malformed, [])

    def test_tcp_finds_the_path_mtu(self):
        for v6 in (False, True):
            with self.subTest("IPv6" if v6 else "IPv4"):
                result = download(self.topo, v6)
                self.assertIsNone(result["error"])
                self.assertEqual(result["bytes"], 2_000_000)
                self.assertLess(result["segment"], 1460 - 12 if not v6 else 1440 - 12)

    def test_ping_df(self):
        told = self.ping(FAMILIES[0][1], "-M", "do", "-s", "1472", check=False)
        self.assertEqual(found_mtu(told), 1500 - 20 - 12, told)  # outer IPv4, GRE with key and sequence (RFC 2890)


class GreOverIpv6(EngineLab):
    @classmethod
    def change(cls, config):
        return configfile.use_outer_v6(configfile.use_gre(super().change(config)))

    def test_ping_and_download(self):
        for _, address in FAMILIES:
            self.assertEqual(received(self.ping(address)), 5)
        self.assertEqual(download(self.topo)["bytes"], 2_000_000)


class Esp(EngineLab):
    @classmethod
    def change(cls, config):
        config["debug"] = {"export_esp_keys": f"/tmp/{cls.key_file(config)}"}
        return super().change(config)

    @classmethod
    def key_file(cls, config) -> str:
        folder = config["api"]["socket"].split("/")[2]  # /tmp/fs-<id>/
        return f"{folder}/esp_sa-{config['engine']['name']}"

    def test_ciphertext_shows_nothing_and_decrypts_with_the_exported_keys(self):
        with self.capture("wan", "wb", "esp or ip6 proto 50") as path:
            for _, address in FAMILIES:
                self.assertEqual(received(self.ping(address)), 5)
        self.assertEqual(tshark(path, "-Y", "icmp || icmpv6", "-e", "ip.src"), [])
        keys = (self.topo.dir / "esp_sa-a1").read_text().splitlines()
        options = [w for line in keys if line.strip() and not line.startswith("#")
                   for w in ("-o", f"uat:esp_sa:{line}")]
        text = run("tshark", "-n", "-r", path, "-o", "esp.enable_encryption_decode:TRUE", *options,
                   "-Y", "icmp || icmpv6", "-T", "fields", "-e", "ip.src", "-e", "ipv6.src").stdout
        rows = [line.split("\t") for line in text.splitlines()]
        self.assertEqual(sum("10.1.0.10" in r[0] for r in rows), 5)
        self.assertEqual(sum("fd00:a::10" in r[1] for r in rows if len(r) > 1), 5)


class EspOverIpv6(EngineLab):
    @classmethod
    def change(cls, config):
        return configfile.use_outer_v6(super().change(config))

    def test_ping_and_download(self):
        for _, address in FAMILIES:
            self.assertEqual(received(self.ping(address)), 5)
        self.assertEqual(download(self.topo, v6=True)["bytes"], 2_000_000)


class EspInUdp(EngineLab):
    """RFC 3948, its keys from the control connection."""

    @classmethod
    def change(cls, config):
        return configfile.use_protocol(super().change(config), protocol="esp-udp")

    def test_ping_download_and_nothing_else_on_the_wire(self):
        with self.capture("wan", "wb", "esp or udp port 4500") as path:
            for _, address in FAMILIES:
                self.assertEqual(received(self.ping(address)), 5)
            self.assertEqual(download(self.topo)["bytes"], 2_000_000)
        rows = tshark(path, "-e", "udp.srcport", "-e", "udp.dstport", "-e", "udp.checksum", "-e", "esp.spi")
        self.assertGreater(len(rows), 1000)
        self.assertEqual({tuple(row[:2]) for row in rows}, {("4500", "4500")})
        self.assertTrue(all(row[3] for row in rows), "not all is ESP")


class Vxlan(EngineLab):
    @classmethod
    def change(cls, config):
        return configfile.use_protocol(super().change(config), protocol="vxlan", vxlan_vni=4242)

    def test_tshark_decodes_it(self):
        with self.capture("wan", "wb", "udp port 4789") as path:
            for _, address in FAMILIES:
                self.assertEqual(received(self.ping(address)), 5)
        rows = tshark(path, "-Y", "icmp || icmpv6", "-e", "vxlan.vni", "-e", "udp.srcport")
        self.assertEqual(len(rows), 20)
        self.assertEqual({row[0] for row in rows}, {"4242"})
        self.assertTrue(all(int(row[1]) >= 49152 for row in rows), rows)
        self.assertEqual(download(self.topo, v6=True)["bytes"], 2_000_000)


class Shaped(EngineLab):
    """8 Mbit/s into every tunnel, until somebody says otherwise."""

    @classmethod
    def change(cls, config):
        return configfile.use_protocol(super().change(config), protocol="esp", shaper={"rate_kbps": 8000})

    def test_a_download_has_the_rate_it_is_given(self):
        engine = self.engines["b1"]
        slow = download(self.topo)
        self.assertEqual(slow["bytes"], 2_000_000)
        self.assertGreater(slow["seconds"], (2_000_000 - 65_536) * 8 / 8_000_000)
        shapers = {name: t["shaper"] for name, t in engine.tunnels().items() if t["shaper"]}
        rest = [s["classes"][-1] for s in shapers.values()]
        self.assertGreater(sum(c["waited"] for c in rest), 100, shapers)
        for name in shapers:
            engine.command("shape", name, "200000")
        fast = download(self.topo)
        self.assertLess(fast["seconds"], slow["seconds"] / 2, (slow, fast))
        # What waited or was dropped is the rest: probes went first, and the tunnels stayed up.
        control = [s["classes"][0]["dropped"] for s in shapers.values()]
        self.assertEqual(sum(control), 0, shapers)
        self.assertTrue(all(t["state"] == "up" for t in engine.tunnels().values()))


class Rekey(EngineLab):
    """New keys every few seconds by packet count, under traffic."""

    @classmethod
    def change(cls, config):
        for tunnel in config["tunnel"]:
            if tunnel["protocol"] == "esp":
                tunnel["rekey_packets"] = 2000
        return super().change(config)

    def test_rekeying_loses_nothing(self):
        def generation():
            return self.engines["a1"].tunnels()["a1-b1"]["outbound_generation"]
        before = generation()
        traffic = Traffic(self.topo, Load(pps=1000, download_bps=0))
        self.wait(12)
        result = traffic.finish()
        self.assert_untouched(result)
        self.assertGreaterEqual(generation() - before, 2)
