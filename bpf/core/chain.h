/* The way of an event, the same for every probe: filter, track, each enabled hook, one output. */

static void add_stack(struct retis_context *c, struct buffer *b, struct event_header *header)
{
	u32 at = *(volatile u32 *)&b->length;
	long size;

	if (at > PARTS_END)
		return;
	size = bpf_get_stack(c->ctx, b->bytes + at, STACK_MAX * sizeof(u64), 0);
	if (size <= 0 || size > STACK_MAX * sizeof(u64))
		return;
	header->stack_length = size / sizeof(u64);
	b->length = at + size;
}

/* The packet's bytes, behind a zeroed Ethernet header where it has none of its own yet. */
static void add_packet(struct retis_context *c, struct buffer *b, struct event_header *header)
{
	u32 at = *(volatile u32 *)&b->length, size = c->packet_linear;

	if (!c->want_packet || at > TAIL_END)
		return;
	if (c->packet_is_l3) {
		__builtin_memset(b->bytes + at, 0, ETH_HLEN);
		*(u16 *)(b->bytes + at + ETH_HLEN - sizeof(u16)) = c->packet_ethertype;
		header->packet_length = ETH_HLEN;
		at += ETH_HLEN;
	}
	if (size > SNAPLEN - header->packet_length)
		size = SNAPLEN - header->packet_length;
	/* For the verifier, which does not follow the line above. */
	if (size > SNAPLEN)
		return;
	if (bpf_probe_read_kernel(b->bytes + at, size, (void *)c->packet))
		size = 0;
	header->packet_length += size;
	b->length = at + size;
}

static void send(struct retis_context *c, struct buffer *b)
{
	u64 length = *(volatile u32 *)&b->length;
	void *data = b->bytes;		/* BCC's front end wants a pointer, not an array */
	long error;

	if (length > BUFFER_SIZE)
		return;
	error = output(c->ctx, data, length);
	if (error)
		count_loss(c, LOSS_RING_FULL);
}

static void fill_header(struct retis_context *c, struct event_header *header)
{
	u64 task = bpf_get_current_pid_tgid();

	header->timestamp = c->timestamp;
	header->probe = c->probe;
	header->type = c->type;
	header->cpu = bpf_get_smp_processor_id();
	header->pid = (u32)task;
	header->tgid = task >> 32;
	header->stack_length = 0;
	header->packet_length = 0;
	bpf_get_current_comm(header->comm, sizeof(header->comm));
}

static void read_clock(struct retis_context *c)
{
	c->timestamp = bpf_ktime_get_ns();
}

/* What the probe's arguments lead to. */
static void look(struct retis_context *c)
{
	complete_context(c);
#ifdef LOCATE_PACKET
	if (c->skb)
		locate_packet(c);
#endif
}

static bool is_wanted(struct retis_context *c)
{
	if (c->unwanted)
		return false;
#ifdef ROLES
	if (!find_by_role(c))
		return false;
	look(c);
	if (!c->known && !PASSES(c))
		return false;
	read_clock(c);
	if (!c->known)
		FOLLOW(c);
	begin_role(c);
#else
	look(c);
	if (!PASSES(c))
		return false;
	read_clock(c);
	FOLLOW(c);
#endif
	return true;
}

static int report(struct retis_context *c)
{
	struct event_header *header;
	struct buffer *b;

#ifdef ROLES
	if (c->silent)
		return 0;
#endif
	b = take_buffer();
	if (!b) {
		count_loss(c, LOSS_BUFFER_BUSY);
		return 0;
	}
	header = (struct event_header *)b->bytes;
	fill_header(c, header);

	HOOKS(c, b);

	/* No collector had anything to say about it. */
	if (!b->parts)
		goto release;
	header->parts = b->parts;
	if (c->want_stack)
		add_stack(c, b, header);
	add_packet(c, b, header);
	send(c, b);
release:
	b->busy = 0;
	return 0;
}
