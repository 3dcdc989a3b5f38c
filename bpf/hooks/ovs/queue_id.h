/* A hash of a packet that comes out the same in the kernel, before the packet is copied into a
 * message to user space, and there, where it is taken out of it: of its length and its first bytes.
 * On its way the kernel puts the VLAN tag that lies beside the packet into it, and completes a
 * checksum that hardware was to fill in: so the tag is put in here, and the checksums of TCP, UDP
 * and SCTP are left out, which is done on both sides without knowing which is which.
 */

KERNEL_STRUCT(sk_buff, len, data_len, data, vlan_proto, vlan_tci, vlan_present);

#define QUEUE_BYTES 64
#define QUEUE_TAG_AT 12			/* behind the Ethernet addresses */
#define QUEUE_TAG_SIZE 4

/* Room for where a header's fields may be, so that no place need be compared with the end. */
#define QUEUE_ROOM 128			/* a power of two */

/* Two a CPU: the datapath may interrupt a process that is being probed. The second half is never used,
 * the verifier does not see that a place and a size in the first do not sum up to more.
 */
struct queue_view {
	u64 busy;
	u64 words[2 * QUEUE_ROOM / sizeof(u64)];
};

BPF_TABLE("percpu_array", u32, struct queue_view, queue_views, 2);
BPF_TABLE("array", u32, u32, ovs_cutlen_is_limit, 1);

/* For the verifier, which does not always know what the compiler does. */
static u32 within_room(u32 number)
{
	asm volatile("" : "+r"(number));
	return number & (QUEUE_ROOM - 1);
}

static u8 queue_byte(struct queue_view *v, u32 at)
{
	return ((u8 *)v->words)[within_room(at)];
}

static u16 queue_half(struct queue_view *v, u32 at)
{
	return (u16)queue_byte(v, at) << 8 | queue_byte(v, at + 1);
}

static void clear_half(struct queue_view *v, u32 at)
{
	((u8 *)v->words)[within_room(at)] = 0;
	((u8 *)v->words)[within_room(at + 1)] = 0;
}

static bool is_vlan(u16 ethertype)
{
	return ethertype == 0x8100 || ethertype == 0x88a8;
}

/* Checksums of protocols that hardware fills in, in headers right behind IP's. */
static void clear_checksum(struct queue_view *v)
{
	u32 network = ETH_HLEN, transport;
	u16 ethertype = queue_half(v, QUEUE_TAG_AT);
	u8 protocol;

	if (is_vlan(ethertype)) {
		ethertype = queue_half(v, QUEUE_TAG_AT + QUEUE_TAG_SIZE);
		network += QUEUE_TAG_SIZE;
		if (is_vlan(ethertype)) {
			ethertype = queue_half(v, QUEUE_TAG_AT + 2 * QUEUE_TAG_SIZE);
			network += QUEUE_TAG_SIZE;
		}
	}
	if (ethertype == 0x0800) {
		transport = network + (queue_byte(v, network) & 0xf) * 4;
		protocol = queue_byte(v, network + 9);
	} else if (ethertype == 0x86dd) {
		transport = network + 40;
		protocol = queue_byte(v, network + 6);
	} else {
		return;
	}
	if (protocol == 6) {
		clear_half(v, transport + 16);
	} else if (protocol == 17) {
		clear_half(v, transport + 6);
	} else if (protocol == 132) {
		clear_half(v, transport + 8);
		clear_half(v, transport + 10);
	}
}

/* The view is given back. */
static u32 hash_view(struct queue_view *v, u32 length)
{
	u64 hash = length;
	u32 i;

	clear_checksum(v);
#pragma unroll
	for (i = 0; i < QUEUE_BYTES / sizeof(u64); i++) {
		hash = (hash ^ v->words[i]) * 0x9e3779b97f4a7c15ULL;
		hash ^= hash >> 29;
	}
	v->busy = 0;
	return hash ^ hash >> 32;
}

static struct queue_view *take_view(void)
{
	u32 first = 0, second = 1;
	struct queue_view *v = queue_views.lookup(&first);

	if (v && v->busy)
		v = queue_views.lookup(&second);
	if (!v || v->busy)
		return NULL;
	v->busy = 1;
	__builtin_memset(v->words, 0, QUEUE_ROOM);
	return v;
}

static u32 at_most(u32 size, u32 limit)
{
	return within_room(size < limit ? size : limit);
}

/* The tag beside the packet as it will lie in it; 0: none. */
static u32 accelerated_tag(struct sk_buff *skb)
{
#ifndef NO_sk_buff__vlan_present
	if (!READ_sk_buff__vlan_present(skb))
		return 0;
#else
	if (!READ(skb->vlan_proto))
		return 0;
#endif
	return (u32)READ(skb->vlan_proto) | (u32)bpf_htons(READ(skb->vlan_tci)) << 16;
}

/* How much of a packet is sent, tag included. ``cutlen`` was what to cut off and 0 for a whole packet; in
 * kernels of 2026, stable ones too, it is what to leave and U32_MAX for a whole packet. Its name and type
 * are the same: whole packets tell.
 */
static u32 length_sent(u32 length, u32 cutlen)
{
	u32 zero = 0, *is_limit;

	if (!cutlen)
		return length;
	is_limit = ovs_cutlen_is_limit.lookup(&zero);
	if (!is_limit)
		return length;
	if (cutlen >= length) {
		*is_limit = 1;
		return length;
	}
	return *is_limit ? cutlen : length - cutlen;
}

/* Of a packet in the kernel as far as it is sent. False where there is no room to do so. */
static bool hash_skb(struct sk_buff *skb, u32 cutlen, u32 *hash)
{
	u32 tag = accelerated_tag(skb), tag_size = tag ? QUEUE_TAG_SIZE : 0;
	u32 sent = length_sent(READ(skb->len) + tag_size, cutlen);
	struct queue_view *v = take_view();
	struct packet_view packet = {};
	u32 size;
	u8 *to;

	if (!v)
		return false;
	to = (u8 *)v->words;
	packet.start = (u64)READ(skb->data);
	packet.len = sent > tag_size ? sent - tag_size : 0;
	packet.linear = READ(skb->len) - READ(skb->data_len);
#ifdef DIRECT_MAP
	struct gathered *gathered = gather(&packet, skb, QUEUE_BYTES);
#endif
	size = packet.linear < packet.len ? packet.linear : packet.len;
	if (!tag) {
		bpf_probe_read_kernel(to, at_most(size, QUEUE_BYTES), (void *)packet.start);
	} else if (size >= QUEUE_TAG_AT) {
		size = at_most(size - QUEUE_TAG_AT, QUEUE_BYTES - QUEUE_TAG_AT - QUEUE_TAG_SIZE);
		bpf_probe_read_kernel(to, QUEUE_TAG_AT, (void *)packet.start);
		__builtin_memcpy(to + QUEUE_TAG_AT, &tag, sizeof(tag));
		bpf_probe_read_kernel(to + QUEUE_TAG_AT + QUEUE_TAG_SIZE, size,
				      (void *)packet.start + QUEUE_TAG_AT);
	}
#ifdef DIRECT_MAP
	release_gathered(gathered);
#endif
	*hash = hash_view(v, sent);
	return true;
}

#ifdef OVS_TRACK
/* Of a packet in the memory of the process that runs. */
static bool hash_user_packet(void *data, u32 length, u32 *hash)
{
	struct queue_view *v = take_view();

	if (!v)
		return false;
	bpf_probe_read_user(v->words, at_most(length, QUEUE_BYTES), data);
	*hash = hash_view(v, length);
	return true;
}
#endif
