/* The packet's bytes from the link-layer header on: those in the skb's linear part. What lies in
 * pages (skb->data_len) is counted in the length and not copied.
 */

KERNEL_STRUCT(sk_buff, len, data_len, head, data, mac_header, network_header, protocol);
KERNEL_STRUCT(net_device, type);

#define HEADER_UNSET 0xffff		/* skb_mac_header_was_set() */
#define ARPHRD_ETHER 1
#define ARPHRD_LOOPBACK 772

/* Only these devices' link-layer header is Ethernet's; without a device it is taken for such. */
static bool is_ethernet(struct net_device *dev)
{
	u16 type;

	if (!dev)
		return true;
	type = READ(dev->type);
	return type == ARPHRD_ETHER || type == ARPHRD_LOOPBACK;
}

/* A packet on its way out has no ethertype before its IP header is complete. */
static u16 ethertype(struct sk_buff *skb, u64 network)
{
	u16 protocol = READ(skb->protocol);
	u8 version = 0;

	if (protocol)
		return protocol;
	bpf_probe_read_kernel(&version, sizeof(version), (void *)network);
	switch (version >> 4) {
	case 4:
		return bpf_htons(0x0800);
	case 6:
		return bpf_htons(0x86dd);
	}
	return 0;
}

static void hook_packet(struct retis_context *c, struct buffer *b)
{
	struct sk_buff *skb = c->skb;
	struct part_packet *part;
	u16 mac, network, type = 0;
	u64 head, data, start;
	u32 length, linear;

	if (!skb)
		return;
	head = (u64)READ(skb->head);
	data = (u64)READ(skb->data);
	mac = READ(skb->mac_header);
	network = READ(skb->network_header);

	if (mac != HEADER_UNSET && is_ethernet(c->dev) &&
	    (!network || network == HEADER_UNSET || network >= mac + ETH_HLEN)) {
		start = head + mac;
	} else if (network && network != HEADER_UNSET) {
		start = head + network;
		type = ethertype(skb, start);
		if (!type)
			return;
	} else {
		return;
	}

	/* Both counts are of what follows skb->data, which may lie on either side of the start. */
	length = READ(skb->len) + (u32)(data - start);
	linear = length - READ(skb->data_len);
	if ((s32)linear <= 0)
		return;
	part = ADD_PART(b, packet);
	if (!part)
		return;
	if (type)
		length += ETH_HLEN;
	part->len = length;
	c->packet = start;
	c->packet_linear = linear;
	c->packet_ethertype = type;
}
