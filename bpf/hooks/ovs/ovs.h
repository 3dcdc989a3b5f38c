/* Open vSwitch's datapath (net/openvswitch): what is kept from one probe to another. The datapath
 * runs with bottom halves disabled, so that a task has one packet in it at a time and names it.
 */

/* An upcall, from its tracepoint to the return of ovs_dp_upcall(). */
struct ovs_upcall {
	u64 began;			/* ns; with the CPU the upcall's identity */
	u64 tracked_since;
	u64 tracked_head;
	u64 enqueued;			/* ns, when queue_userspace_packet() was entered */
	u32 cpu;
	u32 port;			/* Netlink port of who is to get it */
	u32 cmd;
	u32 queue_hash;			/* of the packet, or the segment of it, being queued */
	u32 queue_id;
	u32 unused;
};

BPF_HASH(ovs_upcalls, u64, struct ovs_upcall, 1024);

/* A packet that enters the datapath, until its flow is found. */
struct ovs_lookup {
	u64 began;			/* ns */
	u64 skb;
	u64 tracked_since;
	u64 tracked_head;
	u64 masks_tried;		/* addresses of the counts */
	u64 cache_hits;
};

BPF_HASH(ovs_lookups, u64, struct ovs_lookup, 1024);

#ifdef OVS_TRACK
/* Things of one hash that come out in the order in which they went in: how many did. */
struct ovs_order {
	u64 last;			/* ns, the last one that went in; user space collects what is stale */
	u32 in;
	u32 out;
};

/* Packets on their way to user space, by their hash (queue_id.h). Whoever receives the last one
 * deletes the entry.
 */
BPF_HASH(ovs_queued, u32, struct ovs_order, 16384);

/* Packets that user space sends back to be executed, by the thread that does so and their hash;
 * the queue id of each by its number too. Filled on the side of user space.
 */
struct ovs_execution_key {
	u32 tid;
	u32 hash;
	u32 number;			/* 0 in ovs_executions */
};

struct ovs_queue_id {
	u64 since;			/* ns */
	u32 queue_id;
	u32 unused;
};

BPF_HASH(ovs_executions, struct ovs_execution_key, struct ovs_order, 4096);
BPF_HASH(ovs_execution_ids, struct ovs_execution_key, struct ovs_queue_id, 4096);
/* Threads that do so, with the time at which they last did: others need not be asked. */
BPF_HASH(ovs_executing_threads, u32, u64, 1024);

/* A packet of ovs_executions while its actions are executed, by task. */
struct ovs_executing {
	u64 began;			/* ns */
	u64 stack_pointer;		/* of the call that began it: actions may call themselves */
	u32 queue_id;
	u32 unused;
};

BPF_HASH(ovs_executing, u64, struct ovs_executing, 1024);

/* The name of the number-th packet with that hash. */
static u32 ovs_queue_id(u32 hash, u32 number)
{
	return hash ^ number * 0x9e3779b1U;
}
#endif
