/* Packets whose first bytes are not all in the skb's linear part: what a filter may read of them is
 * put together in a buffer first. Needs what retis_py/filters/pages.py defines; without it such
 * packets end for a filter where their linear part ends.
 */

#ifdef DIRECT_MAP
KERNEL_STRUCT(sk_buff, head, end);
KERNEL_STRUCT(skb_shared_info, nr_frags, frags);
/* bv_*: since Linux 5.4 (commit b8b576a16f79), netmem: since 6.9 (commit 21d2e6737c97). */
KERNEL_STRUCT(skb_frag_t, netmem, len, offset, bv_page, bv_len, bv_offset, page.p, page_offset, size);

#define GATHER_MAX 2048			/* a power of two */
#define NET_IOV 1			/* netmem_is_net_iov(): a device's memory, not ours to read */

/* Two a CPU: an interrupt may come in between. Only the first third is ever used, the verifier does
 * not see that a start and a size in it never sum up to more than that.
 */
struct gathered {
	u32 busy;
	u32 length;
	u64 address;			/* of the bytes */
	u8 bytes[3 * GATHER_MAX];
};

BPF_TABLE("percpu_array", u32, struct gathered, gathered_packets, 2);

/* The fragment's first byte, 0 where it cannot be read. */
static u64 fragment_address(struct skb_frag_t *fragment, u32 *size)
{
	u64 page;
	u32 offset;

#if !defined(NO_skb_frag_t__netmem)
	page = (u64)READ(fragment->netmem);
	offset = READ(fragment->offset);
	*size = READ(fragment->len);
	if (page & NET_IOV)
		return 0;
#elif !defined(NO_skb_frag_t__bv_page)
	page = (u64)READ(fragment->bv_page);
	offset = READ(fragment->bv_offset);
	*size = READ(fragment->bv_len);
#else
	page = (u64)READ(fragment->page.p);
	offset = READ(fragment->page_offset);
	*size = READ(fragment->size);
#endif
	if (!page)
		return 0;
	return DIRECT_MAP + (page - PAGE_STRUCTS) / PAGE_STRUCT_SIZE * PAGE_SIZE + offset;
}

static struct gathered *take_gathered(void)
{
	u32 first = 0, second = 1;
	struct gathered *g = gathered_packets.lookup(&first);

	if (g && g->busy)
		g = gathered_packets.lookup(&second);
	if (!g || g->busy)
		return NULL;
	g->busy = 1;
	g->length = 0;
	return g;
}

static bool append(struct gathered *g, u64 from, u64 size)
{
	u64 at = *(volatile u32 *)&g->length;

	if (at >= GATHER_MAX)
		return false;
	if (size > GATHER_MAX - at)
		size = GATHER_MAX - at;
	/* For the verifier, which does not follow the lines above, or loses what they say where
	 * registers are short; the compiler does.
	 */
	asm volatile("" : "+r"(size), "+r"(at));
	at &= GATHER_MAX - 1;
	size &= 2 * GATHER_MAX - 1;
	if (bpf_probe_read_kernel(g->bytes + at, size, (void *)from))
		return false;
	g->length = at + size;
	return true;
}

/* False where the next one need not, or must not, be added. */
static bool add_fragment(struct gathered *g, struct skb_shared_info *info, u32 i, u32 count,
			 u32 reach)
{
	struct skb_frag_t *fragment;
	u32 size = 0;
	u64 from;

	if (i >= count || g->length >= reach)
		return false;
	fragment = (struct skb_frag_t *)((u64)info->frags + i * sizeof(info->frags[0]));
	from = fragment_address(fragment, &size);
	return from && append(g, from, size);
}

/* Lets the view reach as far as the filter reads, with the skb's first fragments, at most up to
 * GATHER_MAX. What it returns is to be given back when the filter has run.
 */
static struct gathered *gather(struct packet_view *p, struct sk_buff *skb, u32 reach)
{
	struct skb_shared_info *info;
	struct gathered *g;
	u32 count;

	if (p->linear >= p->len || p->linear >= reach || p->linear >= GATHER_MAX)
		return NULL;
	g = take_gathered();
	if (!g || !append(g, p->start, p->linear))
		return g;
	info = (struct skb_shared_info *)((u64)READ(skb->head) + READ(skb->end));
	count = READ(info->nr_frags);
	/* No loop: kernels before 6.7 take one with a spilled counter for endless. */
#define FRAGMENT(i) add_fragment(g, info, i, count, reach)
	(void)(FRAGMENT(0) && FRAGMENT(1) && FRAGMENT(2) && FRAGMENT(3) &&
	       FRAGMENT(4) && FRAGMENT(5) && FRAGMENT(6) && FRAGMENT(7));
	/* By way of the map it is a number for the verifier, which would not let a pointer into the
	 * map be read at an offset that the packet gives, though the view's length bounds it.
	 */
	*(volatile u64 *)&g->address = (u64)g->bytes;
	p->start = *(volatile u64 *)&g->address;
	p->linear = g->length;
	return g;
}

static void release_gathered(struct gathered *g)
{
	if (g)
		g->busy = 0;
}
#endif
