/* Which packet is it: the time it was first seen and the head of its data then. The map's key is
 * the head, which clones share.
 */

KERNEL_STRUCT(sk_buff, head, end, cloned, users.refs.counter);
KERNEL_STRUCT(skb_shared_info, dataref.counter);

#define DATAREF_MASK 0xffff		/* SKB_DATAREF_MASK: the upper half counts payload users */

struct tracked {
	u64 timestamp;			/* first seen, ns */
	u64 orig_head;
};

BPF_TABLE("lru_hash", u64, struct tracked, tracked_packets, 16384);

/* Not for what returns: that was seen at its entry, and by now the skb may be another's. */
static void track(struct retis_context *c)
{
	struct tracked entry = {};
	u64 head;

	if (!c->skb)
		return;
	head = (u64)READ(c->skb->head);
	if (!head || tracked_packets.lookup(&head))
		return;
	entry.timestamp = c->timestamp;
	entry.orig_head = head;
	tracked_packets.insert(&head, &entry);
}

static struct tracked *tracked(struct sk_buff *skb)
{
	u64 head = (u64)READ(skb->head);

	return tracked_packets.lookup(&head);
}

/* The skb is freed: once nobody shares its data the head may become another packet's. */
static void forget(struct sk_buff *skb)
{
	struct skb_shared_info *info;
	u64 head = (u64)READ(skb->head);

	if (READ_sk_buff__cloned(skb)) {
		info = (struct skb_shared_info *)(head + READ(skb->end));
		if ((READ(info->dataref.counter) & DATAREF_MASK) > 1)
			return;
	}
	tracked_packets.delete(&head);
}
