/* What foreshift uses of DPDK, and nothing more: bindgen reads this file, and the C compiler builds
 * the wrappers of its static inline functions from it. */
#include <stddef.h>
#include <stdint.h>

#include <rte_config.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_version.h>

/* rte_errno is a macro over a thread-local variable. */
static inline int dpdk_sys_errno(void) { return rte_errno; }

/* struct rte_eth_link holds bit fields, and a union from 24.11 on. */
static inline int dpdk_sys_link(uint16_t port, uint32_t *speed_mbps, uint8_t *up)
{
	struct rte_eth_link link = {0};
	int rc = rte_eth_link_get_nowait(port, &link);

	*speed_mbps = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
	*up = link.link_status == RTE_ETH_LINK_UP;
	return rc;
}

/* Where the fields that the packet path touches are. The nesting of unions in struct rte_mbuf
 * differs between LTS releases; offsetof does not care. */
enum dpdk_sys_mbuf_offset {
	MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	MBUF_VLAN_TCI = offsetof(struct rte_mbuf, vlan_tci),
	MBUF_VLAN_TCI_OUTER = offsetof(struct rte_mbuf, vlan_tci_outer),
	MBUF_NEXT = offsetof(struct rte_mbuf, next),
	MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	MBUF_SIZE = sizeof(struct rte_mbuf),
	MBUF_HEADROOM = RTE_PKTMBUF_HEADROOM,
	MBUF_DEFAULT_DATAROOM = RTE_MBUF_DEFAULT_DATAROOM,
	MEMPOOL_CACHE_MAX = RTE_MEMPOOL_CACHE_MAX_SIZE,
	LCORE_MAX = RTE_MAX_LCORE,
};

/* Macros with casts are beyond bindgen: named again as constants. */
static const uint64_t RX_VLAN = RTE_MBUF_F_RX_VLAN;
static const uint64_t RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t RX_QINQ = RTE_MBUF_F_RX_QINQ;
static const uint64_t RX_QINQ_STRIPPED = RTE_MBUF_F_RX_QINQ_STRIPPED;
static const uint64_t RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t OFFLOAD_TX_FAST_FREE = RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
static const uint64_t RSS_WANTED = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP |
	RTE_ETH_RSS_SCTP | RTE_ETH_RSS_ESP;
