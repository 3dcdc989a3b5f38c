/* Which packet is it: the time it was first seen and the head of its data then. The map's key is
 * the head, which clones share. What the stack does with heads is followed by probes of the core
 * (bpf/probes/tracking.c): a head that is freed is forgotten, one that moves takes its packet along.
 */

KERNEL_STRUCT(sk_buff, head);

struct tracked {
	u64 timestamp;			/* first seen, ns */
	u64 orig_head;
	u64 last_seen;			/* ns; user space collects what is stale */
};

BPF_HASH(tracked_packets, u64, struct tracked, 32768);
/* Packets whose head is being replaced, by the address of their skb. */
BPF_HASH(moving_packets, u64, struct tracked, 1024);

/* A function of the stack between its entry and its return. */
struct followed_call {
	u64 entered;			/* ns */
	u64 skb;
	struct tracked id;
};

BPF_HASH(followed_calls, struct call_key, struct followed_call, 1024);

static void store_tracked(struct retis_context *c, u64 head, struct tracked *entry)
{
	if (tracked_packets.update(&head, entry))
		count_loss(c, LOSS_TRACKING_FULL);
}

/* The packet that the skb is known as, by its head or as one whose head is being replaced. */
static struct tracked *find_tracked(struct retis_context *c, u64 head)
{
	struct tracked *entry = tracked_packets.lookup(&head);
#ifdef FOLLOW_FUNCTIONS
	struct tracked moved;
	u64 skb = (u64)c->skb;

	if (entry)
		return entry;
	entry = moving_packets.lookup(&skb);
	if (!entry)
		return NULL;
	/* The replacement was not seen to end. */
	moved = *entry;
	moving_packets.delete(&skb);
	store_tracked(c, head, &moved);
	entry = tracked_packets.lookup(&head);
#endif
	return entry;
}

/* Gives a packet that is not known yet its id. */
static void track(struct retis_context *c, u64 head)
{
	struct tracked fresh = {
		.timestamp = c->timestamp,
		.orig_head = head,
		.last_seen = c->timestamp,
	};

	c->tracked_since = c->timestamp;
	c->tracked_head = head;
	store_tracked(c, head, &fresh);
}

/* Whether the event is wanted. Where there are filters a packet is followed from its first match
 * on.
 */
static bool passes(struct retis_context *c)
{
	if (!c->skb)
		return !FILTERED;
#ifndef LOCATE_PACKET
	c->packet_head = (u64)READ(c->skb->head);
#endif
	if (!c->packet_head)
		return !FILTERED;
	c->tracked = find_tracked(c, c->packet_head);
	return c->tracked || matches_filters(c);
}

/* Gives the context its packet's id. */
static void follow(struct retis_context *c)
{
	struct tracked *entry = c->tracked;

	if (entry) {
		entry->last_seen = c->timestamp;
		c->tracked_since = entry->timestamp;
		c->tracked_head = entry->orig_head;
	} else if (c->packet_head) {
		track(c, c->packet_head);
	}
}
