/* The core's own probes: what the stack does with the heads of packets. None makes an event. The
 * argument that is the skb is put in when they are loaded, as for any other probe.
 */

KERNEL_STRUCT(sk_buff, head, end, cloned);
KERNEL_STRUCT(skb_shared_info, dataref.counter);

#define DATAREF_MASK 0xffff		/* SKB_DATAREF_MASK: the upper half counts payload users */

/* The head is about to be freed, or to become a part of another packet, or is used again. */
static void forget(struct sk_buff *skb)
{
	u64 head = (u64)READ(skb->head);

	tracked_packets.delete(&head);
}

#ifdef FOLLOW_FUNCTIONS
int forget_packet(struct pt_regs *ctx)
{
	LOADED_CONSTANT(shape, PROBE_SHAPE);
	u64 skb = 0;

	if (read_argument(ctx, shape, SHAPE_SKB, &skb))
		forget((struct sk_buff *)skb);
	return 0;
}

/* kfree_skb_partial(skb, head_stolen): only a stolen head lives on in another packet. */
int forget_stolen(struct pt_regs *ctx)
{
	if ((u8)PT_REGS_PARM2(ctx))
		forget((struct sk_buff *)PT_REGS_PARM1(ctx));
	return 0;
}

#else
/* The tracepoints that see an skb freed, where functions cannot be probed: once nobody shares its
 * data the head may become another packet's.
 */
int forget_traced(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
	struct skb_shared_info *info;

	if (READ_sk_buff__cloned(skb)) {
		info = (struct skb_shared_info *)((u64)READ(skb->head) + READ(skb->end));
		if ((READ(info->dataref.counter) & DATAREF_MASK) > 1)
			return 0;
	}
	forget(skb);
	return 0;
}

/* And those that see memory freed, kfree(caller, address) and kmem_cache_free(caller, address):
 * much of what TCP frees passes by no tracepoint of its own.
 */
int forget_freed(struct bpf_raw_tracepoint_args *ctx)
{
	u64 head = ctx->args[1];

	/* Looked up first, which takes no lock: most of what is freed is no packet. */
	if (tracked_packets.lookup(&head))
		tracked_packets.delete(&head);
	return 0;
}
#endif

#ifdef FOLLOW_FUNCTIONS
/* Keeps the packet's id until the function returns; where its head moves also for whoever sees the
 * skb in between.
 */
static int begin_call(struct pt_regs *ctx, u64 number, u64 shape, bool moves)
{
	struct retis_context c = { .probe = number, .type = PROBE_KPROBE };
	struct call_key key = { .function = number, .stack_pointer = PT_REGS_SP(ctx) };
	struct followed_call call = {};
	struct tracked *entry;
	u64 skb = 0, head;

	if (!read_argument(ctx, shape, SHAPE_SKB, &skb))
		return 0;
	head = (u64)READ(((struct sk_buff *)skb)->head);
	entry = tracked_packets.lookup(&head);
	if (!entry)
		return 0;
	call.entered = bpf_ktime_get_ns();
	call.skb = skb;
	call.id = *entry;
	if ((moves && moving_packets.update(&skb, entry)) || followed_calls.update(&key, &call))
		count_loss(&c, LOSS_TRACKING_FULL);
	return 0;
}

/* The same packet is at another head from now on. */
static void end_call(u64 number, struct sk_buff *skb, struct tracked *id)
{
	struct retis_context c = { .probe = number, .type = PROBE_KPROBE };
	u64 head = (u64)READ(skb->head);

	if (head)
		store_tracked(&c, head, id);
}

/* pskb_expand_head() and its kin give an skb a new head. */
int move_begins(struct pt_regs *ctx)
{
	LOADED_CONSTANT(number, PROBE_NUMBER);
	LOADED_CONSTANT(shape, PROBE_SHAPE);

	return begin_call(ctx, number, shape, true);
}

int move_ends(struct pt_regs *ctx)
{
	LOADED_CONSTANT(number, PROBE_NUMBER);
	struct call_key key = {
		.function = number,
		.stack_pointer = PT_REGS_SP(ctx) - RETURN_ADDRESS_SIZE,
	};
	struct followed_call *found = followed_calls.lookup(&key), call;

	if (!found)
		return 0;
	call = *found;
	followed_calls.delete(&key);
	moving_packets.delete(&call.skb);
	end_call(number, (struct sk_buff *)call.skb, &call.id);
	return 0;
}

/* skb_copy() and its kin return a packet that is the same in another place. */
int copy_begins(struct pt_regs *ctx)
{
	LOADED_CONSTANT(number, PROBE_NUMBER);
	LOADED_CONSTANT(shape, PROBE_SHAPE);

	return begin_call(ctx, number, shape, false);
}

int copy_ends(struct pt_regs *ctx)
{
	LOADED_CONSTANT(number, PROBE_NUMBER);
	struct call_key key = {
		.function = number,
		.stack_pointer = PT_REGS_SP(ctx) - RETURN_ADDRESS_SIZE,
	};
	struct followed_call *found = followed_calls.lookup(&key), call;
	struct sk_buff *copy = (struct sk_buff *)PT_REGS_RC(ctx);

	if (!found)
		return 0;
	call = *found;
	followed_calls.delete(&key);
	if (copy)
		end_call(number, copy, &call.id);
	return 0;
}
#endif
