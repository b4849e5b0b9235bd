"""The kernel in the engines' place: to check the lab itself, never the product. No tunnels, no prediction."""
from .shell import PYTHON, run
from .topology import GATEWAY_A4, GATEWAY_A6, GATEWAY_B4, GATEWAY_B6, Topology

WAN = {"a1": ("192.0.2.11", "2001:db8:0:1::11"), "a2": ("192.0.2.12", "2001:db8:0:1::12"),
       "b1": ("192.0.2.20", "2001:db8:0:1::20")}
LAN = {"a1": ("10.1.0.2", "fd00:a::2"), "a2": ("10.1.0.3", "fd00:a::3"), "b1": (GATEWAY_B4, GATEWAY_B6)}


class StandIn:
    """Kernel routers a1, a2 and b1; a1 holds the gateway until `take_over`. Needs Topology(kernel_ports=True)."""

    def __init__(self, topo: Topology):
        self._topo = topo
        for node in ("a1", "a2", "b1"):
            run(*topo.exec(node, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"))
            lan_len = (24, 64)
            self._ip(node, *(f"addr add {a}/{n} dev wan0" for a, n in zip(WAN[node], lan_len)),
                     *(f"addr add {a}/{n} dev lan0" for a, n in zip(LAN[node], lan_len)))
        for node in ("a1", "a2"):
            self._ip(node, f"route add 10.2.0.0/24 via {WAN['b1'][0]}", f"route add fd00:b::/64 via {WAN['b1'][1]}")
        self.take_over("a1", None)

    def _ip(self, node: str, *lines: str) -> None:
        run("ip", "-n", self._topo.ns(node), "-batch", "-", text="\n".join(lines))

    def take_over(self, to: str, leaving: str | None) -> None:
        """The gateway address and b1's way back move, make before break."""
        self._ip("b1", f"route replace 10.1.0.0/24 via {WAN[to][0]}", f"route replace fd00:a::/64 via {WAN[to][1]}")
        self._ip(to, f"addr add {GATEWAY_A4}/32 dev lan0", f"addr add {GATEWAY_A6}/128 dev lan0 nodad")
        run(*self._topo.exec(to, PYTHON, "-c", ANNOUNCE, GATEWAY_A4))
        if leaving:
            self._ip(leaving, f"addr del {GATEWAY_A4}/32 dev lan0", f"addr del {GATEWAY_A6}/128 dev lan0")


# A gratuitous ARP request (RFC 5227 §2.3): Debian's arping is not installed everywhere.
ANNOUNCE = """
import socket, struct, sys
address = socket.inet_aton(sys.argv[1])
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as s:
    s.bind(('lan0', 0x0806))
    mac = s.getsockname()[4]
    s.send(b'\\xff' * 6 + mac + struct.pack('!HHHBBH', 0x0806, 1, 0x0800, 6, 4, 1)
           + mac + address + bytes(6) + address)
"""
