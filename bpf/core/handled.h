/* Which packet is being handled: between entry and return of a probed function that has one it is
 * known for the task that runs, and with it for functions that have no packet of their own.
 *
 * An interrupt that handles another packet runs on the same task, and gives it back when it is done.
 */

struct handled {
	u64 since;			/* ns; user space collects what never ends */
	u64 skb;
	u64 tracked_since;
	u64 tracked_head;
};

BPF_HASH(handled_packets, u64, struct handled, 4096);
/* What was handled before, for each call. */
BPF_HASH(handled_before, struct call_key, struct handled, 4096);

static void begin_handling(struct retis_context *c, u64 stack_pointer)
{
	struct call_key key = { .function = c->probe, .stack_pointer = stack_pointer };
	u64 task = bpf_get_current_task();
	struct handled *last = handled_packets.lookup(&task), before = {}, now = {};

	if (last)
		before = *last;
	before.since = c->timestamp;
	now.since = c->timestamp;
	now.skb = (u64)c->skb;
	now.tracked_since = c->tracked_since;
	now.tracked_head = c->tracked_head;
	if (handled_before.update(&key, &before) || handled_packets.update(&task, &now))
		count_loss(c, LOSS_MAP_FULL);
}

static void end_handling(u64 function, u64 stack_pointer)
{
	struct call_key key = { .function = function, .stack_pointer = stack_pointer };
	struct handled *entry = handled_before.lookup(&key), before;
	u64 task = bpf_get_current_task();

	if (!entry)
		return;
	before = *entry;
	handled_before.delete(&key);
	if (before.skb)
		handled_packets.update(&task, &before);
	else
		handled_packets.delete(&task);
}

/* Gives the context the packet that is being handled; false where there is none. */
static bool take_handled(struct retis_context *c)
{
	u64 task = bpf_get_current_task();
	struct handled *now = handled_packets.lookup(&task);

	if (!now)
		return false;
	c->skb = (struct sk_buff *)now->skb;
	c->tracked_since = now->tracked_since;
	c->tracked_head = now->tracked_head;
	return true;
}
