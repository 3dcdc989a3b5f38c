/* Actions (do_execute_actions(), net/openvswitch/actions.c): each is about to be executed. */

KERNEL_STRUCT(nlattr, nla_type);
KERNEL_STRUCT(sw_flow_key, recirc_id);
KERNEL_STRUCT(ovs_conntrack_info, zone.id, family, commit, force, nat, range.flags, range.min_addr,
	      range.max_addr, range.min_proto, range.max_proto);

#define NLA_TYPE_MASK 0x3fff
#define NLA_HDRLEN 4

/* ovs_conntrack_info.nat (enum ovs_ct_nat, net/openvswitch/conntrack.c) */
#define OVS_CT_NAT 1
#define OVS_CT_SRC_NAT 2
#define OVS_CT_DST_NAT 4

static void add_action_ct(struct buffer *b, struct ovs_conntrack_info *info, u32 recirc_id)
{
#ifndef NO_ovs_conntrack_info
	struct part_ovs_action_ct_nat *part;
	u8 nat = 0;

#if !defined(NO_ovs_conntrack_info__nat) && !defined(NO_ovs_conntrack_info__range__flags)
	nat = READ_ovs_conntrack_info__nat(info);
	if (nat & OVS_CT_NAT)
		part = ADD_PART(b, ovs_action_ct_nat);
	else
#endif
		part = (struct part_ovs_action_ct_nat *)ADD_PART(b, ovs_action_ct);
	if (!part)
		return;
	/* All that the other one has. */
	part->recirc_id = recirc_id;
	part->commit = READ_ovs_conntrack_info__commit(info);
	part->force = READ_ovs_conntrack_info__force(info);
#ifndef NO_ovs_conntrack_info__zone__id
	part->zone_id = READ(info->zone.id);
#endif
#if !defined(NO_ovs_conntrack_info__nat) && !defined(NO_ovs_conntrack_info__range__flags)
	if (!(nat & OVS_CT_NAT))
		return;
	part->family = READ(info->family);
	part->is_source = !!(nat & OVS_CT_SRC_NAT);
	part->is_destination = !!(nat & OVS_CT_DST_NAT);
	part->range_flags = READ(info->range.flags);
	part->min_port = bpf_ntohs(READ(info->range.min_proto));
	part->max_port = bpf_ntohs(READ(info->range.max_proto));
	bpf_probe_read_kernel(part->min_addr, sizeof(part->min_addr), &info->range.min_addr);
	bpf_probe_read_kernel(part->max_addr, sizeof(part->max_addr), &info->range.max_addr);
#endif
#endif
}

static void add_action(struct buffer *b, u32 action, u64 payload, u32 recirc_id)
{
	struct part_ovs_action *part = ADD_PART(b, ovs_action);

	if (!part)
		return;
	part->action = action;
	part->recirc_id = recirc_id;
	if (action == OVS_ACTION_ATTR_OUTPUT || action == OVS_ACTION_ATTR_RECIRC)
		part->argument = READ(*(u32 *)payload);
#ifdef OVS_ACTION_ATTR_DROP
	if (action == OVS_ACTION_ATTR_DROP)
		part->argument = READ(*(u32 *)payload);
#endif
}

#ifdef OVS_TRACK
/* Which of the packets that user space sent back it is. */
static void add_action_queue(struct buffer *b)
{
	u64 task = bpf_get_current_task();
	struct ovs_executing *executing = ovs_executing.lookup(&task);
	struct part_ovs_action_queue *part;

	if (!executing)
		return;
	part = ADD_PART(b, ovs_action_queue);
	if (part)
		part->queue_id = executing->queue_id;
}
#endif

static void hook_ovs_action(struct retis_context *c, struct buffer *b)
{
	struct nlattr *attribute;
	struct sw_flow_key *key;
	u64 payload;
	u32 action, recirc_id;

	if (c->role != OVS_ROLE_ACTION)
		return;
	key = word_at(c->ctx, OVS_PLACE_TP_KEY);
	recirc_id = READ(key->recirc_id);
	attribute = word_at(c->ctx, OVS_PLACE_TP_ACTION);
	action = READ(attribute->nla_type) & NLA_TYPE_MASK;
	payload = (u64)attribute + NLA_HDRLEN;
	if (action == OVS_ACTION_ATTR_CT)
		add_action_ct(b, (struct ovs_conntrack_info *)payload, recirc_id);
	else
		add_action(b, action, payload, recirc_id);
#ifdef OVS_TRACK
	add_action_queue(b);
#endif
}
