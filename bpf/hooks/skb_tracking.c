/* The tracking id of the packet: bpf/core/tracking.h gives it. */

static void hook_skb_tracking(struct retis_context *c, struct buffer *b)
{
	struct part_skb_tracking *part;

	if (!c->tracked_since)
		return;
	part = ADD_PART(b, skb_tracking);
	if (!part)
		return;
	part->orig_head = c->tracked_head;
	part->timestamp = c->tracked_since;
	part->skb = (u64)c->skb;
}
