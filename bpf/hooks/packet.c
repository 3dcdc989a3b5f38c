/* The packet's bytes from the link-layer header on: those in the skb's linear part. What lies in
 * pages (skb->data_len) is counted in the length and not copied. They are copied last
 * (bpf/core/chain.h).
 */

static void hook_packet(struct retis_context *c, struct buffer *b)
{
	struct part_packet *part;

	/* Without a link-layer header nothing but the ethertype says what the bytes are. */
	if (!c->packet || (c->packet_is_l3 && !c->packet_ethertype))
		return;
	part = ADD_PART(b, packet);
	if (!part)
		return;
	part->len = c->packet_len;
	if (c->packet_is_l3)
		part->len += ETH_HLEN;
	c->want_packet = 1;
}
