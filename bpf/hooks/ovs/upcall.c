/* Upcalls: a packet that the datapath hands to user space, since no flow is known for it or since an
 * action says so (ovs_dp_upcall(), net/openvswitch/datapath.c).
 */

KERNEL_STRUCT(dp_upcall_info, portid, cmd);

/* At the tracepoint, once the packet is known to be wanted. */
static void begin_upcall(struct retis_context *c, u64 task)
{
	struct dp_upcall_info *info = word_at(c->ctx, OVS_PLACE_TP_UPCALL_INFO);
	struct ovs_upcall upcall = {
		.began = c->timestamp,
		.tracked_since = c->tracked_since,
		.tracked_head = c->tracked_head,
		.cpu = bpf_get_smp_processor_id(),
	};

	upcall.port = READ(info->portid);
	upcall.cmd = READ(info->cmd);
	if (ovs_upcalls.update(&task, &upcall))
		count_loss(c, LOSS_MAP_FULL);
}

/* The packet, or each of the segments that it is cut into, is queued. A segment is another skb: it
 * has the packet's id here.
 */
static bool belongs_to_upcall(struct retis_context *c, u64 task)
{
	struct ovs_upcall *upcall = ovs_upcalls.lookup(&task);

	if (!upcall)
		return false;
	c->tracked_since = upcall->tracked_since;
	c->tracked_head = upcall->tracked_head;
	c->known = 1;
	return true;
}

/* Before it is sent: it may be received before the function returns. */
static void begin_enqueue(struct retis_context *c, u64 task)
{
	struct ovs_upcall *upcall = ovs_upcalls.lookup(&task);
	u32 hash = 0, cutlen = (u64)word_at(c->ctx, OVS_PLACE_CUTLEN);

	if (!upcall)
		return;
	upcall->enqueued = c->timestamp;
	upcall->queue_hash = 0;
	upcall->queue_id = 0;
	if (!hash_skb(c->skb, cutlen, &hash)) {
		count_loss(c, LOSS_BUFFER_BUSY);
		return;
	}
	upcall->queue_hash = hash;
	upcall->queue_id = hash;
#ifdef OVS_TRACK
	struct ovs_order order = {}, *queued;

	queued = ovs_queued.lookup_or_try_init(&hash, &order);
	if (!queued) {
		count_loss(c, LOSS_MAP_FULL);
		return;
	}
	queued->last = c->timestamp;
	/* No atomic exchange before Linux 5.12: two packets that are the same to the byte and queued
	 * on two CPUs in the same instant may get one number, and one of them is lost.
	 */
	order.out = queued->in;
	upcall->queue_id = ovs_queue_id(hash, order.out);
	__sync_fetch_and_add(&queued->in, 1);
	if (ovs_queued.lookup(&hash) == queued)
		return;
	/* The last one before it has been received meanwhile, and the entry deleted. */
	order.last = c->timestamp;
	order.in = order.out + 1;
	if (ovs_queued.update(&hash, &order))
		count_loss(c, LOSS_MAP_FULL);
#endif
}

/* At its return; false where the upcall is none that is reported. */
static bool end_enqueue(struct retis_context *c, u64 task)
{
	struct ovs_upcall *upcall = ovs_upcalls.lookup(&task);

	if (!upcall)
		return false;
	/* Before whatever user space does with it. */
	c->timestamp = upcall->enqueued;
#ifdef OVS_TRACK
	struct ovs_order *queued;
	u32 hash = upcall->queue_hash;

	if (!(s32)c->returned)
		return true;
	/* It was not sent: the next one has its number. */
	queued = ovs_queued.lookup(&hash);
	if (queued && ovs_queue_id(hash, queued->in - 1) == upcall->queue_id)
		queued->in--;
#endif
	return true;
}

static void hook_ovs_upcall(struct retis_context *c, struct buffer *b)
{
	u64 task = bpf_get_current_task();
	struct part_ovs_upcall_return *end;
	struct part_ovs_upcall_enqueue *queue;
	struct part_ovs_upcall *begin;
	struct ovs_upcall *upcall;

	if (c->role != OVS_ROLE_UPCALL && c->role != OVS_ROLE_ENQUEUE &&
	    c->role != OVS_ROLE_UPCALL_RETURN)
		return;
	upcall = ovs_upcalls.lookup(&task);
	if (!upcall)
		return;
	if (c->role == OVS_ROLE_UPCALL) {
		begin = ADD_PART(b, ovs_upcall);
		if (!begin)
			return;
		begin->port = upcall->port;
		begin->cpu = upcall->cpu;
		begin->cmd = upcall->cmd;
	} else if (c->role == OVS_ROLE_ENQUEUE) {
		queue = ADD_PART(b, ovs_upcall_enqueue);
		if (!queue)
			return;
		queue->upcall_ts = upcall->began;
		queue->upcall_cpu = upcall->cpu;
		queue->port = upcall->port;
		queue->cmd = upcall->cmd;
		queue->queue_id = upcall->queue_id;
		queue->ret = c->returned;
	} else {
		end = ADD_PART(b, ovs_upcall_return);
		if (!end)
			return;
		end->upcall_ts = upcall->began;
		end->upcall_cpu = upcall->cpu;
		end->ret = c->returned;
		ovs_upcalls.delete(&task);
	}
}
