/* Functions' arguments, kept from entry to return. */

struct call {
	u64 entered;			/* ns; user space collects what never returns */
	struct sk_buff *skb;
	struct net_device *dev;
	struct net *net;
	struct sock *sk;
	u32 drop_reason;
	u32 has_drop_reason;
	u64 tracked_since;
	u64 tracked_head;
};

BPF_HASH(calls, struct call_key, struct call, 8192);

static int enter(struct retis_context *c, u64 stack_pointer)
{
	struct call_key key = { .function = c->probe, .stack_pointer = stack_pointer };
	struct call call = {};

	if (!is_wanted(c))
		return 0;
	call.entered = c->timestamp;
	call.skb = c->skb;
	call.dev = c->dev;
	call.net = c->net;
	call.sk = c->sk;
	call.drop_reason = c->drop_reason;
	call.has_drop_reason = c->has_drop_reason;
	call.tracked_since = c->tracked_since;
	call.tracked_head = c->tracked_head;
	if (calls.update(&key, &call))
		count_loss(c, LOSS_MAP_FULL);
	return 0;
}

static int leave(struct retis_context *c, u64 stack_pointer)
{
	struct call_key key = { .function = c->probe, .stack_pointer = stack_pointer };
	struct call *call = calls.lookup(&key);

	/* Not wanted, entered before the probe was attached, or the map was full and that is
	 * counted.
	 */
	if (!call)
		return 0;
	c->skb = call->skb;
	c->dev = call->dev;
	c->net = call->net;
	c->sk = call->sk;
	c->drop_reason = call->drop_reason;
	c->has_drop_reason = call->has_drop_reason;
	c->tracked_since = call->tracked_since;
	c->tracked_head = call->tracked_head;
	calls.delete(&key);
	read_clock(c);
	look(c);
#ifdef ROLES
	if (!end_role(c))
		return 0;
#endif
	return report(c);
}
