/* What struct sk_buff itself says (include/linux/skbuff.h), in parts that are chosen one by one. */

KERNEL_STRUCT(sk_buff, len, data_len, hash, ip_summed, csum, csum_level, priority, nohdr, cloned,
	      fclone, users.refs.counter, head, end, vlan_proto, vlan_tci, vlan_present);
KERNEL_STRUCT(skb_shared_info, nr_frags, gso_size, gso_segs, gso_type, dataref.counter, flags,
	      tx_flags);

static struct skb_shared_info *shared_info(struct sk_buff *skb)
{
	/* skb->end is an offset on 64-bit machines (NET_SKBUFF_DATA_USES_OFFSET). */
	return (struct skb_shared_info *)((u64)READ(skb->head) + READ(skb->end));
}

static void add_vlan_accel(struct sk_buff *skb, struct buffer *b)
{
	struct part_skb_vlan_accel *part;
	u16 tci = READ(skb->vlan_tci);

	/* Until Linux commit 354259fa73e2 (v6.2) a bit says that there is a tag. */
#ifndef NO_sk_buff__vlan_present
	if (!READ_sk_buff__vlan_present(skb))
		return;
#else
	if (!READ(skb->vlan_proto))
		return;
#endif
	part = ADD_PART(b, skb_vlan_accel);
	if (!part)
		return;
	part->proto = bpf_ntohs(READ(skb->vlan_proto));
	part->tci = tci;
}

#ifdef SKB_META
static void add_meta(struct sk_buff *skb, struct buffer *b)
{
	struct part_skb_meta *part = ADD_PART(b, skb_meta);

	if (!part)
		return;
	part->len = READ(skb->len);
	part->data_len = READ(skb->data_len);
	part->hash = READ(skb->hash);
	part->csum = READ(skb->csum);
	part->priority = READ(skb->priority);
	part->ip_summed = READ_sk_buff__ip_summed(skb);
	part->csum_level = READ_sk_buff__csum_level(skb);
}
#endif

#ifdef SKB_DATAREF
static void add_dataref(struct sk_buff *skb, struct buffer *b)
{
	struct part_skb_dataref *part = ADD_PART(b, skb_dataref);

	if (!part)
		return;
	part->nohdr = READ_sk_buff__nohdr(skb);
	part->cloned = READ_sk_buff__cloned(skb);
	part->fclone = READ_sk_buff__fclone(skb);
	part->users = READ(skb->users.refs.counter);
	part->dataref = READ(shared_info(skb)->dataref.counter);
}
#endif

#ifdef SKB_GSO
static void add_gso(struct sk_buff *skb, struct buffer *b)
{
	struct skb_shared_info *info = shared_info(skb);
	u16 size = READ(info->gso_size);
	u8 frags = READ(info->nr_frags);
	struct part_skb_gso *part;

	if (!size && !frags)
		return;
	part = ADD_PART(b, skb_gso);
	if (!part)
		return;
	part->size = size;
	part->segs = READ(info->gso_segs);
	part->type = READ(info->gso_type);
	part->frags = frags;
	/* Called tx_flags before Linux commit 06b4feb37e64 (v5.14). */
#ifndef NO_skb_shared_info__flags
	part->flags = READ(info->flags);
#else
	part->flags = READ(info->tx_flags);
#endif
}
#endif

static void hook_skb(struct retis_context *c, struct buffer *b)
{
	if (!c->skb)
		return;
	add_vlan_accel(c->skb, b);
#ifdef SKB_META
	add_meta(c->skb, b);
#endif
#ifdef SKB_DATAREF
	add_dataref(c->skb, b);
#endif
#ifdef SKB_GSO
	add_gso(c->skb, b);
#endif
}
