/* What a packet filter (retis_py/filters/packet.py) reads: the packet from its Ethernet or its
 * network header on, as libpcap's filters see it.
 */

struct packet_view {
	u64 start;			/* address of the first byte */
	u32 linear;			/* bytes that can be read from there */
	u32 len;			/* on the wire; what is in pages counts */
	u32 read;			/* the last read: one place for all, the stack is small */
};

/* False where the packet has no such bytes: the filter then rejects it. */
static bool read_packet(struct packet_view *p, u32 offset, u32 size)
{
	if ((u64)offset + size > p->linear)
		return false;
	return !bpf_probe_read_kernel(&p->read, size, (void *)(p->start + offset));
}

/* The names load_byte, load_half and load_word are BCC's. */

static bool packet_byte(struct packet_view *p, u32 offset, u32 *value)
{
	if (!read_packet(p, offset, sizeof(u8)))
		return false;
	*value = *(u8 *)&p->read;
	return true;
}

static bool packet_half(struct packet_view *p, u32 offset, u32 *value)
{
	if (!read_packet(p, offset, sizeof(u16)))
		return false;
	*value = bpf_ntohs(*(u16 *)&p->read);
	return true;
}

static bool packet_word(struct packet_view *p, u32 offset, u32 *value)
{
	if (!read_packet(p, offset, sizeof(u32)))
		return false;
	*value = __builtin_bswap32(p->read);
	return true;
}
