/* ovs-vswitchd: a handler thread receives a batch of upcalls, then installs flows and sends the packets
 * back to be executed (recv_upcalls() and handle_upcalls() in ofproto/ofproto-dpif-upcall.c,
 * dpif_netlink_operate__() in lib/dpif-netlink.c of Open vSwitch).
 */

#define OVS_BATCH_MAX 64		/* UPCALL_MAX_BATCH */
#define OVS_KEY_BYTES 512		/* of a flow's key, that are looked at */
#define OVS_KEY_PIECE 64

/* A packet in the thread's memory. */
struct ovs_received {
	u64 key;			/* where its flow's key is: first in the message's buffer */
	u64 data;			/* where it is itself */
	u32 key_hash;
	u32 queue_id;
	u32 wanted;
	u32 unused;
};

struct ovs_batch {
	u64 last;			/* ns, the last one received; user space collects what is stale */
	u64 began;			/* ns */
	u32 count;
	u32 handled;			/* the thread has begun to answer */
	struct ovs_received packets[OVS_BATCH_MAX];
};

/* By thread. */
BPF_HASH(ovs_batches, u32, struct ovs_batch, 1024);
/* One that has just begun: too large for the stack. */
BPF_TABLE("array", u32, struct ovs_batch, ovs_no_batch, 1);

/* For the verifier, which does not always know what the compiler does. */
static u32 within_batch(u32 number)
{
	asm volatile("" : "+r"(number));
	return number & (OVS_BATCH_MAX - 1);
}

/* In each round of a loop over a batch: both its ends are compared then, the constant one for the
 * verifier.
 */
#define KEEP_BOTH_ENDS(i) asm volatile("" : "+r"(i))

static u32 hash_flow_key(void *key, u64 length)
{
	u64 hash = length, words[OVS_KEY_PIECE / sizeof(u64)], size;
	u32 at, i;

#pragma unroll
	for (at = 0; at < OVS_KEY_BYTES; at += OVS_KEY_PIECE) {
		if (length <= at)
			break;
		__builtin_memset(words, 0, sizeof(words));
		size = length - at;
		if (size >= OVS_KEY_PIECE) {
			bpf_probe_read_user(words, OVS_KEY_PIECE, key + at);
		} else {
			asm volatile("" : "+r"(size));
			bpf_probe_read_user(words, size & (OVS_KEY_PIECE - 1), key + at);
		}
#pragma unroll
		for (i = 0; i < OVS_KEY_PIECE / sizeof(u64); i++) {
			hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15ULL;
			hash ^= hash >> 29;
		}
	}
	return hash ^ hash >> 32;
}

static struct ovs_batch *batch_of_thread(struct retis_context *c)
{
	u32 tid = bpf_get_current_pid_tgid(), zero = 0;
	struct ovs_batch *batch = ovs_batches.lookup(&tid), *empty;

	if (batch)
		return batch;
	empty = ovs_no_batch.lookup(&zero);
	if (!empty)
		return NULL;
	if (ovs_batches.update(&tid, empty)) {
		count_loss(c, LOSS_MAP_FULL);
		return NULL;
	}
	return ovs_batches.lookup(&tid);
}

/* The packet whose message is in the same buffer; the batch's length: there is none. */
static u32 find_buffer(struct ovs_batch *batch, u64 key)
{
	u32 count = batch->count, i;

	for (i = 0; i < OVS_BATCH_MAX; i++) {
		KEEP_BOTH_ENDS(i);
		if (i >= count || batch->packets[i].key == key)
			break;
	}
	return i;
}

/* Where in the batch a packet is that has just been received. Nothing tells that a batch begins: it
 * does once the thread has answered, when it is full, and when the first buffers are used again, for
 * there may be nothing to answer. The last buffer is used again where the thread had no use for what
 * was in it.
 */
static u32 place_in_batch(struct retis_context *c, struct ovs_batch *batch, u64 key)
{
	u32 place = find_buffer(batch, key);

	batch->last = c->timestamp;
	if (batch->handled || place == OVS_BATCH_MAX || (place + 1 < batch->count) || !place) {
		batch->handled = 0;
		batch->began = c->timestamp;
		place = 0;
	}
	batch->count = place + 1;
	/* Read back, so that the verifier goes on with one state and not with one for each place. */
	return *(volatile u32 *)&batch->count - 1;
}

/* Gives a packet that was received the name that it was queued by; false where it was not: nobody
 * wants it.
 */
static bool take_queued(u32 hash, u32 *queue_id)
{
	struct ovs_order *queued = ovs_queued.lookup(&hash);

	if (!queued || queued->out == queued->in)
		return false;
	*queue_id = ovs_queue_id(hash, queued->out);
	/* No atomic exchange before Linux 5.12, as in begin_enqueue(). */
	__sync_fetch_and_add(&queued->out, 1);
	if (queued->out == queued->in)
		ovs_queued.delete(&hash);
	return true;
}

static void report_received(struct retis_context *c, struct ovs_batch *batch, u32 place, u32 queue_id,
			    u32 type, u32 size, u64 key_size)
{
	struct part_ovs_recv_upcall *part;
	struct buffer *b = begin_usdt_event(c);

	if (!b)
		return;
	part = ADD_PART(b, ovs_recv_upcall);
	if (part) {
		part->type = type;
		part->pkt_size = size;
		part->key_size = key_size;
		part->queue_id = queue_id;
		part->batch_ts = batch->began;
		part->batch_idx = place;
	}
	end_usdt_event(c, b);
}

/* dpif_recv:recv_upcall: the upcall's type, the packet and its size, the flow's key and its size. */
int receive_upcall(struct pt_regs *ctx)
{
	LOADED_CONSTANT(number, PROBE_NUMBER);
	LOADED_CONSTANT(type_at, USDT_ARGUMENT_0);
	LOADED_CONSTANT(data_at, USDT_ARGUMENT_1);
	LOADED_CONSTANT(size_at, USDT_ARGUMENT_2);
	LOADED_CONSTANT(key_at, USDT_ARGUMENT_3);
	LOADED_CONSTANT(key_size_at, USDT_ARGUMENT_4);
	struct retis_context c = {
		.ctx = ctx,
		.probe = number,
		.type = PROBE_USDT,
		.timestamp = bpf_ktime_get_ns(),
	};
	u64 type = 0, data = 0, size = 0, key = 0, key_size = 0;
	struct ovs_batch *batch = batch_of_thread(&c);
	struct ovs_received *packet;
	u32 hash = 0, place, queue_id = 0;
	bool wanted;

	if (!batch)
		return 0;
	usdt_argument(ctx, type_at, &type);
	usdt_argument(ctx, data_at, &data);
	usdt_argument(ctx, size_at, &size);
	usdt_argument(ctx, key_at, &key);
	usdt_argument(ctx, key_size_at, &key_size);
	place = within_batch(place_in_batch(&c, batch, key));
	if (!hash_user_packet((void *)data, size, &hash)) {
		count_loss(&c, LOSS_BUFFER_BUSY);
		wanted = false;
	} else {
		wanted = take_queued(hash, &queue_id);
	}
	packet = &batch->packets[place];
	packet->key = key;
	packet->data = data;
	packet->key_hash = hash_flow_key((void *)key, key_size);
	packet->queue_id = queue_id;
	packet->wanted = wanted;
	if (wanted)
		report_received(&c, batch, place, queue_id, type, size, key_size);
	return 0;
}

static void report_operation(struct retis_context *c, struct ovs_batch *batch, u32 place, bool is_put)
{
	struct part_ovs_flow_operation *part;
	struct buffer *b = begin_usdt_event(c);

	if (!b)
		return;
	part = ADD_PART(b, ovs_flow_operation);
	if (part) {
		part->batch_ts = batch->began;
		part->queue_id = batch->packets[within_batch(place)].queue_id;
		part->batch_idx = place;
		part->is_put = is_put;
	}
	end_usdt_event(c, b);
}

/* The thread answers. */
static struct ovs_batch *begin_answer(void)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct ovs_batch *batch = ovs_batches.lookup(&tid);

	if (batch)
		batch->handled = 1;
	return batch;
}

/* The start of struct dpif_flow_put (lib/dpif.h), the same since Open vSwitch 2.0. */
struct ovs_flow_put {
	u64 flags;
	u64 key;
	u64 key_size;
};

/* dpif_netlink_operate__:op_flow_put: what is put. A flow is made for the first packet of the batch that
 * has its key.
 */
int put_flow(struct pt_regs *ctx)
{
	LOADED_CONSTANT(number, PROBE_NUMBER);
	LOADED_CONSTANT(put_at, USDT_ARGUMENT_0);
	struct retis_context c = {
		.ctx = ctx,
		.probe = number,
		.type = PROBE_USDT,
		.timestamp = bpf_ktime_get_ns(),
	};
	struct ovs_batch *batch = begin_answer();
	struct ovs_flow_put put = {};
	u32 count, hash, i;
	u64 address = 0;

	if (!batch || !usdt_argument(ctx, put_at, &address))
		return 0;
	if (bpf_probe_read_user(&put, sizeof(put), (void *)address))
		return 0;
	hash = hash_flow_key((void *)put.key, put.key_size);
	count = batch->count;
	for (i = 0; i < OVS_BATCH_MAX; i++) {
		KEEP_BOTH_ENDS(i);
		if (i >= count)
			return 0;
		if (batch->packets[i].key_hash == hash)
			break;
	}
	if (i < OVS_BATCH_MAX && batch->packets[within_batch(i)].wanted)
		report_operation(&c, batch, i, true);
	return 0;
}

/* Lets the datapath know the packet when it begins to execute its actions, in this thread. */
static void expect_execution(struct retis_context *c, struct ovs_batch *batch, u64 data, u32 size,
			     u32 queue_id)
{
	struct ovs_execution_key key = { .tid = bpf_get_current_pid_tgid() };
	struct ovs_queue_id id = { .since = c->timestamp, .queue_id = queue_id };
	struct ovs_order none = {}, *order;
	u32 tid = key.tid, hash = 0;

	if (!hash_user_packet((void *)data, size, &hash)) {
		count_loss(c, LOSS_BUFFER_BUSY);
		return;
	}
	key.hash = hash;
	order = ovs_executions.lookup_or_try_init(&key, &none);
	if (!order) {
		count_loss(c, LOSS_MAP_FULL);
		return;
	}
	/* What an earlier batch has left the datapath has refused. */
	if (order->last < batch->began)
		order->out = order->in;
	order->last = c->timestamp;
	key.number = order->in;
	if (ovs_execution_ids.update(&key, &id) ||
	    ovs_executing_threads.update(&tid, &c->timestamp)) {
		count_loss(c, LOSS_MAP_FULL);
		return;
	}
	order->in++;
}

/* dpif_netlink_operate__:op_flow_execute: the packet and its size. */
int execute_packet(struct pt_regs *ctx)
{
	LOADED_CONSTANT(number, PROBE_NUMBER);
	LOADED_CONSTANT(data_at, USDT_ARGUMENT_0);
	LOADED_CONSTANT(size_at, USDT_ARGUMENT_1);
	struct retis_context c = {
		.ctx = ctx,
		.probe = number,
		.type = PROBE_USDT,
		.timestamp = bpf_ktime_get_ns(),
	};
	struct ovs_batch *batch = begin_answer();
	u64 data = 0, size = 0;
	u32 count, i;

	if (!batch || !usdt_argument(ctx, data_at, &data) || !usdt_argument(ctx, size_at, &size))
		return 0;
	count = batch->count;
	for (i = 0; i < OVS_BATCH_MAX; i++) {
		KEEP_BOTH_ENDS(i);
		if (i >= count)
			return 0;
		if (batch->packets[i].data == data)
			break;
	}
	if (i == OVS_BATCH_MAX || !batch->packets[within_batch(i)].wanted)
		return 0;
	report_operation(&c, batch, i, false);
	expect_execution(&c, batch, data, size, batch->packets[within_batch(i)].queue_id);
	return 0;
}
