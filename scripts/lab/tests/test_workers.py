"""Engines of two workers: each has SAs of its own (RFC 9611), and traffic passes whichever worker it comes to."""
from .. import configfile
from ..traffic import Load, Traffic, download
from .base import FAMILIES, EngineLab, received, tshark


def with_workers(config: dict, count: int, queues: int | None = None) -> dict:
    """`count` workers on the CPUs there are; ports with `queues` queues, or one for each worker."""
    config["dpdk"] |= {"cores": configfile.cpus(count), "mbufs": 16383, "memory_mb": 160}
    for port in config["port"]:
        port["descriptors"] = 512
        if queues:
            port["queues"] = queues
    return config


def use_plain_gre(config: dict) -> dict:
    """GRE without sequence numbers: several workers cannot count together."""
    for tunnel in configfile.use_gre(config)["tunnel"]:
        tunnel.pop("gre_sequence", None)
    return config


class TwoWorkers(EngineLab):
    """ESP, both ends with two workers and two queues: the kernel spreads flows, the SPI names the worker."""

    @classmethod
    def change(cls, config):
        return with_workers(super().change(config), 2)

    def test_every_worker_sends_under_an_sa_of_its_own(self):
        with self.capture("wan", "wb", "esp") as path:
            traffic = Traffic(self.topo, Load(pps=500, flows=32, download_bps=0))
            self.wait(4)
            result = traffic.finish()
        self.assert_untouched(result)
        rows = tshark(path, "-Y", "ip.src == 192.0.2.11 || ip.src == 192.0.2.20", "-e", "ip.src", "-e", "esp.spi",
                      "-e", "esp.sequence")
        spis = {source: {r[1] for r in rows if r[0] == source} for source in ("192.0.2.11", "192.0.2.20")}
        self.assertTrue(all(len(of) >= 2 for of in spis.values()), f"SPIs in use: {spis}")
        pairs = [(r[1], r[2]) for r in rows]
        self.assertEqual(len(pairs), len(set(pairs)), "a sequence number repeats under one SPI")

    def test_ping_and_download(self):
        for _, address in FAMILIES:
            self.assertEqual(received(self.ping(address)), 5)
        self.assertEqual(download(self.topo)["bytes"], 2_000_000)


class TwoWorkersOneQueue(TwoWorkers):
    """The same where every port has one queue: who polls hands each flow and each SA to its worker."""

    @classmethod
    def change(cls, config):
        return with_workers(EngineLab.change.__func__(cls, config), 2, queues=1)


class TwoWorkersGre(EngineLab):
    @classmethod
    def change(cls, config):
        return with_workers(use_plain_gre(super().change(config)), 2)

    def test_traffic_and_download(self):
        traffic = Traffic(self.topo, Load(pps=500, flows=32, download_bps=0))
        self.wait(4)
        result = traffic.finish()
        self.assertEqual([result.total(n) for n in ("lost", "duplicated")], [0, 0])
        self.assertEqual(download(self.topo)["bytes"], 2_000_000)


class UnequalWorkers(EngineLab):
    """Two workers at site A, one at site B, which was told of the two."""

    @classmethod
    def change(cls, config):
        config = super().change(config)
        if config["engine"]["name"] == "b1":
            for peer in config["peer"]:
                peer["workers"] = 2
            return config
        for peer in config["peer"]:
            peer["workers"] = 2 if peer["name"].startswith("a") else 1
        return with_workers(config, 2)

    def test_traffic(self):
        traffic = Traffic(self.topo, Load(pps=500, flows=32, download_bps=0))
        self.wait(3)
        result = traffic.finish()
        self.assertEqual([result.total(n) for n in ("lost", "duplicated")], [0, 0])
        for _, address in FAMILIES:
            self.assertEqual(received(self.ping(address)), 5)
