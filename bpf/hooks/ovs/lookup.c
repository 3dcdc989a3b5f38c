/* Lookups: which flow of the datapath a packet belongs to. ovs_flow_tbl_lookup_stats() has no packet
 * among its arguments; ovs_dp_process_packet(), which calls it at once, has.
 */

KERNEL_STRUCT(sw_flow, id.ufid, id.ufid_len, sf_acts);

#define OVS_UFID_SIZE 16

static void begin_processing(struct retis_context *c, u64 task)
{
	struct ovs_lookup lookup = {
		.began = c->timestamp,
		.skb = (u64)c->skb,
		.tracked_since = c->tracked_since,
		.tracked_head = c->tracked_head,
	};

	if (ovs_lookups.update(&task, &lookup))
		count_loss(c, LOSS_MAP_FULL);
}

static bool belongs_to_processing(struct retis_context *c, u64 task)
{
	struct ovs_lookup *lookup = ovs_lookups.lookup(&task);

	if (!lookup)
		return false;
	c->skb = (struct sk_buff *)lookup->skb;
	c->tracked_since = lookup->tracked_since;
	c->tracked_head = lookup->tracked_head;
	c->known = 1;
	return true;
}

static void begin_lookup(struct retis_context *c, u64 task)
{
	struct ovs_lookup *lookup = ovs_lookups.lookup(&task);

	if (!lookup)
		return;
	lookup->masks_tried = (u64)word_at(c->ctx, OVS_PLACE_MASKS_TRIED);
	lookup->cache_hits = (u64)word_at(c->ctx, OVS_PLACE_CACHE_HITS);
}

static void hook_ovs_lookup(struct retis_context *c, struct buffer *b)
{
	u64 task = bpf_get_current_task();
	struct part_ovs_flow_lookup *part;
	struct ovs_lookup *lookup;
	struct sw_flow *flow;

	if (c->role != OVS_ROLE_LOOKUP)
		return;
	lookup = ovs_lookups.lookup(&task);
	if (!lookup)
		return;
	part = ADD_PART(b, ovs_flow_lookup);
	if (part) {
		part->n_mask_hit = READ(*(u32 *)lookup->masks_tried);
		part->n_cache_hit = READ(*(u32 *)lookup->cache_hits);
		flow = (struct sw_flow *)c->returned;
		part->flow = (u64)flow;
		if (flow) {
			part->sf_acts = (u64)READ(flow->sf_acts);
			/* Else it is named by its key. */
			if (READ(flow->id.ufid_len) == OVS_UFID_SIZE)
				bpf_probe_read_kernel(&part->ufid_0, OVS_UFID_SIZE, flow->id.ufid);
		}
	}
	ovs_lookups.delete(&task);
}
