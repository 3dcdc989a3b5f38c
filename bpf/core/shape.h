/* Which argument is which differs from probe to probe, but the program is compiled once: loading it
 * for a probe replaces two constants in its instructions. They go through volatile variables, or
 * the compiler would take them for what they are not; the verifier then sees the real values and
 * leaves out what the probe has no use for.
 */

#define SHAPE_BITS 5			/* an argument's place, all set: there is none */
#define SHAPE_NONE ((1 << SHAPE_BITS) - 1)

enum shape_field {			/* as in retis_py/probes/probe.py */
	SHAPE_SKB,
	SHAPE_DEV,
	SHAPE_NET,
	SHAPE_SOCK,
	SHAPE_DROP_REASON,
	SHAPE_NFT_PKTINFO,
	SHAPE_NFT_TRACEINFO,
	SHAPE_NFT_TRACE_TYPE,
	SHAPE_STACK,			/* no place: 1 with a stack trace, 0 without */
	SHAPE_CONTEXT,			/* 1 where the packet is the one that is being handled */
	SHAPE_ROLE,			/* which of a collector's own probes it is, 0: none */
	SHAPE_SILENT,			/* 1 where it makes no event */
};

#define LOADED_CONSTANT(name, placeholder)		\
	volatile u64 name##_placed = placeholder;	\
	u64 name = name##_placed

static u32 shape_field(u64 shape, u32 field)
{
	return (shape >> (field * SHAPE_BITS)) & SHAPE_NONE;
}

/* An argument, where the shape has it: the place counts in words of the context, be it registers
 * or a tracepoint's array. Through a helper, since the verifier wants direct reads of a context at
 * offsets that the compiler would have to know.
 */
static bool read_argument(void *ctx, u64 shape, u32 field, u64 *value)
{
	u32 place = shape_field(shape, field);

	if (place == SHAPE_NONE)
		return false;
	bpf_probe_read_kernel(value, sizeof(*value), ctx + place * sizeof(u64));
	return true;
}

#ifdef NFT_ARGUMENTS
static void fill_nft(struct retis_context *c, void *ctx, u64 shape)
{
	struct nft_traceinfo *info = NULL;
	u64 value;

	if (read_argument(ctx, shape, SHAPE_NFT_TRACEINFO, &value)) {
		info = (struct nft_traceinfo *)value;
		take_nft_traceinfo(c, info);
	}
	if (read_argument(ctx, shape, SHAPE_NFT_PKTINFO, &value))
		take_nft_pktinfo(c, (struct nft_pktinfo *)value);
#ifdef NFT_VERDICTS
	if (info && read_argument(ctx, shape, SHAPE_NFT_TRACE_TYPE, &value))
		take_nft_step(c, ctx, info, value);
#endif
}
#endif

static void fill_role(struct retis_context *c, u64 shape)
{
#ifdef ROLES
	c->role = shape_field(shape, SHAPE_ROLE);
	c->silent = shape_field(shape, SHAPE_SILENT);
#endif
}

static void fill_context(struct retis_context *c, void *ctx, u64 shape)
{
	u64 value;

	if (read_argument(ctx, shape, SHAPE_SKB, &value))
		c->skb = (struct sk_buff *)value;
	if (read_argument(ctx, shape, SHAPE_DEV, &value))
		c->dev = (struct net_device *)value;
	if (read_argument(ctx, shape, SHAPE_NET, &value))
		c->net = (struct net *)value;
	if (read_argument(ctx, shape, SHAPE_SOCK, &value))
		c->sk = (struct sock *)value;
	if (read_argument(ctx, shape, SHAPE_DROP_REASON, &value)) {
		c->drop_reason = value;
		c->has_drop_reason = 1;
	}
	c->want_stack = shape_field(shape, SHAPE_STACK);
	fill_role(c, shape);
#ifdef NFT_ARGUMENTS
	fill_nft(c, ctx, shape);
#endif
}
