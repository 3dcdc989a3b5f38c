/* Raw events: a header, the parts named in its bitmap in the order of their bits, the stack's
 * addresses, the packet's bytes; sent with exactly the bytes used.
 */

#define STACK_MAX 127			/* PERF_MAX_STACK_DEPTH */
#define PARTS_END 2048			/* header and parts end before this */
#define TAIL_END (PARTS_END + STACK_MAX * sizeof(u64))
#define BUFFER_SIZE (TAIL_END + ETH_HLEN + SNAPLEN + 8)

enum loss_cause {
	LOSS_RING_FULL,
	LOSS_BUFFER_BUSY,
	LOSS_MAP_FULL,
	LOSS_TRACKING_FULL,
};

struct loss_key {
	u64 probe;
	u32 type;
	u32 cause;
};

/* A call of a function that is probed at its entry and its return. The stack pointer tells calls
 * apart: the same function may be entered again from an interrupt before it returns.
 */
struct call_key {
	u64 function;
	u64 stack_pointer;		/* at the function's first instruction */
};

/* Where an event is built: too large for the stack. Two a CPU: an interrupt may come in between,
 * and one more in between that is counted as lost.
 */
struct buffer {
	u32 busy;
	u32 parts;			/* bitmap: 1 << PART_name */
	u32 length;
	u32 unused;
	u8 bytes[BUFFER_SIZE];
};

BPF_TABLE("percpu_array", u32, struct buffer, buffers, 2);
BPF_HASH(losses, struct loss_key, u64, 1024);

static void count_loss(struct retis_context *c, u32 cause)
{
	struct loss_key key = { .probe = c->probe, .type = c->type, .cause = cause };
	u64 zero = 0, *count = losses.lookup(&key);

	if (!count) {
		losses.insert(&key, &zero);
		count = losses.lookup(&key);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
}

static struct buffer *take_buffer(void)
{
	u32 first = 0, second = 1;
	struct buffer *b = buffers.lookup(&first);

	if (b && b->busy)
		b = buffers.lookup(&second);
	if (!b || b->busy)
		return NULL;
	b->busy = 1;
	b->parts = 0;
	b->length = sizeof(struct event_header);
	return b;
}

/* Room for a part; NULL where the event has none left. The length is read back from the map each
 * time so that the verifier sees one state and not one for each combination of parts.
 */
static void *reserve_part(struct buffer *b, u32 number, u32 size)
{
	u32 at = *(volatile u32 *)&b->length;

	if (at > PARTS_END - size)
		return NULL;
	b->parts |= 1U << number;
	b->length = at + size;
	return b->bytes + at;
}

/* The same, zeroed. */
static void *add_part(struct buffer *b, u32 number, u32 size)
{
	void *part = reserve_part(b, number, size);

	if (part)
		__builtin_memset(part, 0, size);
	return part;
}

/* A part that is too large to be zeroed: all its members are to be filled. */
#define RESERVE_PART(buffer, name) \
	((struct part_##name *)reserve_part(buffer, PART_##name, sizeof(struct part_##name)))
#define ADD_PART(buffer, name) \
	((struct part_##name *)add_part(buffer, PART_##name, sizeof(struct part_##name)))
