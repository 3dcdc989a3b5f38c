/* Why a packet is dropped: an argument of type enum skb_drop_reason
 * (include/net/dropreason-core.h).
 */

static void hook_skb_drop(struct retis_context *c, struct buffer *b)
{
	struct part_skb_drop *part;

	if (!c->has_drop_reason)
		return;
	/* Functions that free packets get these for packets that are not dropped. */
#ifdef SKB_NOT_DROPPED_YET
	if (c->drop_reason == SKB_NOT_DROPPED_YET)
		return;
#endif
#ifdef SKB_CONSUMED
	if (c->drop_reason == SKB_CONSUMED)
		return;
#endif
	part = ADD_PART(b, skb_drop);
	if (part)
		part->reason = c->drop_reason;
}
