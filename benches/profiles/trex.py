"""TRex, stateless: UDP flows through a gateway, with a flow-stats stream beside it for loss and latency.

start -f benches/profiles/trex.py -t size=64,flows=64 -m 100% -p 0
"""

import argparse

from trex_stl_lib.api import (STLFlowLatencyStats, STLPktBuilder, STLProfile, STLScVmRaw, STLStream, STLTXCont,
                              STLVmFlowVar, STLVmFixIpv4, STLVmWrFlowVar)
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

FCS = 4
# A stream with latency carries a signature of 16 bytes: it does not fit smaller frames.
LATENCY_SIZE_MIN = 68


class Gateway:
    """One stream of many flows at the rate of the command line, and 1,000 packets a second that are timed."""

    @staticmethod
    def packet(size: int, src: str, dst: str) -> STLPktBuilder:
        headers = Ether() / IP(src=src, dst=dst) / UDP(sport=1024, dport=4789, chksum=0)
        payload = max(0, size - FCS - len(headers)) * b"\0"
        return headers / payload

    def streams(self, size: int, flows: int, src: str, dst: str) -> list[STLStream]:
        ports = STLVmFlowVar(name="port", min_value=1024, max_value=1024 + flows - 1, size=2, op="inc")
        vary = STLScVmRaw([ports, STLVmWrFlowVar(fv_name="port", pkt_offset="UDP.sport"),
                           STLVmFixIpv4(offset="IP")])
        many = STLPktBuilder(pkt=self.packet(size, src, dst), vm=vary)
        timed = STLPktBuilder(pkt=self.packet(max(size, LATENCY_SIZE_MIN), src, dst))
        return [STLStream(packet=many, mode=STLTXCont(percentage=100)),
                STLStream(packet=timed, mode=STLTXCont(pps=1000), flow_stats=STLFlowLatencyStats(pg_id=1))]

    def get_streams(self, tunables, **_) -> list[STLStream]:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--size", type=int, default=64)
        parser.add_argument("--flows", type=int, default=64)
        parser.add_argument("--src", default="10.1.0.10")
        parser.add_argument("--dst", default="10.2.0.10")
        given = parser.parse_args(tunables)
        return STLProfile(self.streams(given.size, given.flows, given.src, given.dst)).get_streams()


def register() -> Gateway:
    return Gateway()
