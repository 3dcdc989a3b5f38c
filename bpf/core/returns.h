/* Functions' arguments, kept from entry to return. The stack pointer tells calls apart: the same
 * function may be entered again from an interrupt before it returns.
 */

struct call_key {
	u64 function;
	u64 stack_pointer;		/* at the function's first instruction */
};

struct call {
	struct sk_buff *skb;
	struct net_device *dev;
	struct net *net;
	struct sock *sk;
	u32 drop_reason;
	u32 has_drop_reason;
};

/* The least recently used goes where a return was missed and its call stayed behind. */
BPF_TABLE("lru_hash", struct call_key, struct call, calls, 8192);

static int enter(struct retis_context *c, u64 stack_pointer)
{
	struct call_key key = { .function = c->probe, .stack_pointer = stack_pointer };
	struct call call = {
		.skb = c->skb,
		.dev = c->dev,
		.net = c->net,
		.sk = c->sk,
		.drop_reason = c->drop_reason,
		.has_drop_reason = c->has_drop_reason,
	};

	c->timestamp = bpf_ktime_get_ns();
	TRACK(c);
	if (calls.update(&key, &call))
		count_loss(c, LOSS_MAP_FULL);
	return 0;
}

static int leave(struct retis_context *c, u64 stack_pointer)
{
	struct call_key key = { .function = c->probe, .stack_pointer = stack_pointer };
	struct call *call = calls.lookup(&key);

	/* Entered before the probe was attached, or the map was full and that is counted. */
	if (!call)
		return 0;
	c->skb = call->skb;
	c->dev = call->dev;
	c->net = call->net;
	c->sk = call->sk;
	c->drop_reason = call->drop_reason;
	c->has_drop_reason = call->has_drop_reason;
	calls.delete(&key);
	return handle(c);
}
