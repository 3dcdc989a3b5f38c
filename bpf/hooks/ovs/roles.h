/* What the collector's own probes do beside reporting (bpf/core/chain.h). */

KERNEL_STRUCT(sk_buff, head);

#ifdef OVS_TRACK
/* A packet that user space sent back, as its actions begin to be executed. */
static bool take_execution(struct retis_context *c, u64 task)
{
	struct ovs_execution_key key = { .tid = bpf_get_current_pid_tgid() };
	struct ovs_executing executing = {};
	struct ovs_queue_id *found;
	struct ovs_order *order;
	u32 tid = key.tid, hash = 0, number;

	if (!ovs_executing_threads.lookup(&tid))
		return false;
	if (!hash_skb(c->skb, 0, &hash))
		return false;
	key.hash = hash;
	order = ovs_executions.lookup(&key);
	if (!order || order->out == order->in)
		return false;
	number = order->out++;
	/* Nobody adds to it meanwhile: the thread is here. */
	if (order->out == order->in)
		ovs_executions.delete(&key);
	key.number = number;
	found = ovs_execution_ids.lookup(&key);
	if (!found)
		return false;
	executing.began = bpf_ktime_get_ns();
	executing.stack_pointer = c->stack_pointer;
	executing.queue_id = found->queue_id;
	ovs_execution_ids.delete(&key);
	if (ovs_executing.update(&task, &executing)) {
		count_loss(c, LOSS_MAP_FULL);
		return false;
	}
#ifdef TRACKING
	/* It was wanted on its way to user space, and filters may not know it again. */
	u64 head = (u64)READ(c->skb->head);

	if (!find_tracked(c, head)) {
		c->timestamp = executing.began;
		track(c, head);
	}
#endif
	c->known = 1;
	return true;
}

/* At the return of the call that began it: recirculation calls the function again inside. */
static void end_execution(struct retis_context *c, u64 task)
{
	struct ovs_executing *executing = ovs_executing.lookup(&task);

	if (executing && executing->stack_pointer == c->stack_pointer)
		ovs_executing.delete(&task);
}
#endif

/* Gives the context the packet that the probe is about; false where nobody wants it. */
static bool find_by_role(struct retis_context *c)
{
	u64 task = bpf_get_current_task();

	switch (c->role) {
	case OVS_ROLE_UPCALL:
		/* The end of the last one was missed. */
		ovs_upcalls.delete(&task);
		return true;
	case OVS_ROLE_ENQUEUE:
		return belongs_to_upcall(c, task);
	case OVS_ROLE_PROCESS:
		ovs_lookups.delete(&task);
		return true;
	case OVS_ROLE_LOOKUP:
		return belongs_to_processing(c, task);
#ifdef OVS_TRACK
	case OVS_ROLE_EXECUTE:
		return take_execution(c, task);
#endif
	}
	return true;
}

/* The packet is wanted: keeps what later probes need of it. */
static void begin_role(struct retis_context *c)
{
	u64 task = bpf_get_current_task();

	switch (c->role) {
	case OVS_ROLE_UPCALL:
		begin_upcall(c, task);
		break;
	case OVS_ROLE_ENQUEUE:
		begin_enqueue(c, task);
		break;
	case OVS_ROLE_PROCESS:
		begin_processing(c, task);
		break;
	case OVS_ROLE_LOOKUP:
		begin_lookup(c, task);
		break;
	}
}

/* At a function's return; false where there is nothing to report. */
static bool end_role(struct retis_context *c)
{
	u64 task = bpf_get_current_task();

	switch (c->role) {
	case OVS_ROLE_ENQUEUE:
		return end_enqueue(c, task);
	case OVS_ROLE_UPCALL_RETURN:
		return !!ovs_upcalls.lookup(&task);
	case OVS_ROLE_LOOKUP:
		return !!ovs_lookups.lookup(&task);
#ifdef OVS_TRACK
	case OVS_ROLE_EXECUTE:
		end_execution(c, task);
		return true;
#endif
	}
	return true;
}
