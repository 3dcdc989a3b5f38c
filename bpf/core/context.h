/* What a probe knows when it fires, filled by bpf/probes/ from its arguments. */

enum probe_type {
	PROBE_KPROBE,
	PROBE_KRETPROBE,
	PROBE_RAW_TRACEPOINT,
	PROBE_USDT,
};

/* Namespaces are numbered from PROC_DYNAMIC_FIRST, 0xF0000000, on (include/linux/proc_fs.h), the
 * first ones since Linux 6.18 right below it (include/uapi/linux/nsfs.h); a lower number says that
 * the pointer was none.
 */
#define NETNS_INUM_FIRST 0xEFFFFFF0U

KERNEL_STRUCT(sk_buff, dev, sk);
KERNEL_STRUCT(net_device, nd_net.net);
KERNEL_STRUCT(net, ns.inum);

struct retis_context {
	void *ctx;			/* the probe's own: for stacks and perf buffers */
	u64 timestamp;			/* ns, CLOCK_MONOTONIC */
	u64 probe;			/* number of a tracepoint, address of a function */
	u32 type;			/* enum probe_type */
	u32 want_stack;
	struct sk_buff *skb;
	struct net_device *dev;		/* the skb's, else the argument */
	struct net *dev_net;		/* the device's namespace, and its number */
	u32 dev_inum;
	struct net *net;		/* of an argument */
	struct sock *sk;		/* the skb's, else the argument */
	u32 drop_reason;
	u32 has_drop_reason;
	u32 unwanted;			/* the probe has seen that nobody asked for this */
#ifdef ROLES
	u32 role;			/* which of a collector's own probes it is; 0: none */
	u32 silent;			/* it makes no event */
	u32 known;			/* the packet is one that is wanted, and has its id */
	u64 stack_pointer;		/* at the function's first instruction */
	u64 returned;			/* by the function */
#endif
#ifdef NFT_VERDICTS
	/* Filled by take_nft_step() (bpf/core/nftables.h). */
	struct nft_chain *nft_chain;
	struct nft_chain *nft_target;	/* where a jump or goto leads */
	u64 nft_rule_handle;		/* 0: none */
	s32 nft_verdict;
	u32 nft_policy;
#endif
	/* Filled by locate_packet(). */
	u64 packet_head;		/* of the skb's data */
	u64 packet;			/* its first byte, 0: none */
	u32 packet_len;			/* bytes from there on */
	u32 packet_linear;		/* of these, those in one piece */
	u16 packet_ethertype;		/* where it has no link-layer header yet; big endian */
	u8 packet_is_l3;		/* it has none */
	u8 want_packet;			/* its bytes go into the event */
	/* Filled by bpf/core/tracking.h: where its tracking id is kept, and that; NULL, 0: none. */
	struct tracked *tracked;
	u64 tracked_since;
	u64 tracked_head;
};

/* skb->dev shares its place with rbnode (TCP's queues) and dev_scratch (UDP's): a device is one
 * only where its namespace is.
 */
static bool take_namespace(struct retis_context *c, struct net_device *dev)
{
	struct net *net;

	if (!dev)
		return false;
	net = READ(dev->nd_net.net);
	if (!net)
		return false;
	c->dev_net = net;
	c->dev_inum = READ(net->ns.inum);
	return c->dev_inum >= NETNS_INUM_FIRST;
}

static void complete_context(struct retis_context *c)
{
	struct net_device *dev = NULL;
	struct sock *sk;
	u64 span[2] = {};

	if (c->skb) {
		READ_SPAN(span, c->skb, dev);
		dev = IN_SPAN(span, c->skb, dev, dev);
		sk = IN_SPAN(span, c->skb, dev, sk);
		if (sk)
			c->sk = sk;
	}
	if (take_namespace(c, dev))
		c->dev = dev;
	else if (!take_namespace(c, c->dev))
		c->dev = NULL;
}
