-- pktgen-DPDK: 64 flows of UDP through a gateway, port 0 -> gateway -> port 1, at a rate that rises until it loses.
-- Run as: pktgen -l 0-2 -n 4 -a <LAN> -a <WAN> -- -P -m "1.0,2.1" -f benches/profiles/pktgen.lua
-- Environment: GATEWAY_MAC (of the gateway's LAN port), SIZE (frame with FCS), SECONDS of a step.
package.path = package.path .. ";?.lua;test/?.lua;app/?.lua;"
require "Pktgen"

local gateway = os.getenv("GATEWAY_MAC") or "02:00:00:00:01:00"
local size = tonumber(os.getenv("SIZE") or "64")
local seconds = tonumber(os.getenv("SECONDS") or "10")

pktgen.set("all", "size", size)
pktgen.set("all", "burst", 32)
pktgen.set("all", "count", 0)
-- Answer ARP and ping.
pktgen.process("all", "on")
pktgen.set_mac("0", "dst", gateway)
pktgen.set_type("0", "ipv4")
pktgen.set_proto("0", "udp")

-- The flows differ in their source port.
pktgen.dst_mac("0", "start", gateway)
pktgen.src_ip("0", "start", "10.1.0.10")
pktgen.src_ip("0", "inc", "0.0.0.0")
pktgen.src_ip("0", "min", "10.1.0.10")
pktgen.src_ip("0", "max", "10.1.0.10")
pktgen.dst_ip("0", "start", "10.2.0.10")
pktgen.dst_ip("0", "inc", "0.0.0.0")
pktgen.dst_ip("0", "min", "10.2.0.10")
pktgen.dst_ip("0", "max", "10.2.0.10")
pktgen.ip_proto("0", "udp")
pktgen.src_port("0", "start", 1024)
pktgen.src_port("0", "inc", 1)
pktgen.src_port("0", "min", 1024)
pktgen.src_port("0", "max", 1087)
pktgen.dst_port("0", "start", 4789)
pktgen.dst_port("0", "inc", 0)
pktgen.dst_port("0", "min", 4789)
pktgen.dst_port("0", "max", 4789)
pktgen.pkt_size("0", "start", size)
pktgen.pkt_size("0", "inc", 0)
pktgen.pkt_size("0", "min", size)
pktgen.pkt_size("0", "max", size)
pktgen.set_range("0", "on")

-- RFC 2544 §26.1: halve the interval until it is a hundredth of the line rate; a step without loss raises the floor.
local low, high = 0.0, 100.0
while high - low > 1.0 do
  local rate = (low + high) / 2
  pktgen.set("0", "rate", rate)
  pktgen.clr()
  pktgen.start("0")
  pktgen.delay(seconds * 1000)
  pktgen.stop("0")
  pktgen.delay(1000)
  local sent = pktgen.portStats("0", "port")[0].opackets
  local received = pktgen.portStats("1", "port")[1].ipackets
  printf("%6.2f %% of the line: sent %d, received %d, lost %d\n", rate, sent, received, sent - received)
  if received >= sent then low = rate else high = rate end
end
printf("no-drop rate: %.2f %% of the line at %d byte frames\n", low, size)
pktgen.quit()
