/* The tracking id of the packet: bpf/core/tracking.h gives it. */

static void hook_skb_tracking(struct retis_context *c, struct buffer *b)
{
	struct part_skb_tracking *part;
	struct tracked *entry;

	if (!c->skb)
		return;
	entry = tracked(c->skb);
	if (!entry)
		return;
	part = ADD_PART(b, skb_tracking);
	if (!part)
		return;
	part->orig_head = entry->orig_head;
	part->timestamp = entry->timestamp;
	part->skb = (u64)c->skb;
}
