/* Reading the kernel. Every read is explicit: BCC's own rewriting of dereferences misses some. */

/* The value of a kernel lvalue, `READ(skb->dev)`; zero where the address cannot be read. */
#define READ(lvalue) ({							\
	typeof(lvalue) _value;						\
	bpf_probe_read_kernel(&_value, sizeof(_value), &(lvalue));	\
	_value;								\
})

/* Members that lie close together, in one read: what begins with the first of them goes to an array
 * of u64, `READ_SPAN(span, skb, dev)`, and `IN_SPAN(span, skb, dev, sk)` is a member's value from
 * there, or read by itself on kernels where it lies elsewhere.
 */
#define SPAN_BEGIN(object, first) (__builtin_offsetof(typeof(*(object)), first) & ~7UL)
#define READ_SPAN(span, object, first) \
	bpf_probe_read_kernel(span, sizeof(span), (void *)(object) + SPAN_BEGIN(object, first))
#define IN_SPAN(span, object, first, member) ({				\
	u64 _at = __builtin_offsetof(typeof(*(object)), member) -	\
		  SPAN_BEGIN(object, first);				\
	_at < sizeof(span) && _at + sizeof((object)->member) <= sizeof(span) ?	\
		*(typeof((object)->member) *)((u8 *)(span) + _at) :	\
		READ((object)->member);					\
})

/* A word of a probe's own context: a register, or a tracepoint's argument. */
static void *word_at(void *ctx, u32 place)
{
	void *value = NULL;

	bpf_probe_read_kernel(&value, sizeof(value), ctx + place * sizeof(u64));
	return value;
}

/* Struct members declared by KERNEL_STRUCT in a piece become C members where the running kernel
 * has them; a bit-field `sk_buff.cloned` is read with READ_sk_buff__cloned(skb); what the kernel
 * lacks defines NO_sk_buff__member.
 */
