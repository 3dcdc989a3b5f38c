/* Reading the kernel. Every read is explicit: BCC's own rewriting of dereferences misses some. */

/* The value of a kernel lvalue, `READ(skb->dev)`; zero where the address cannot be read. */
#define READ(lvalue) ({							\
	typeof(lvalue) _value;						\
	bpf_probe_read_kernel(&_value, sizeof(_value), &(lvalue));	\
	_value;								\
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
