/* Where the packet's bytes are in an skb: the packet filter and the packet section both ask. */

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

/* Finds the packet's first byte: the link-layer header's, else the network header's, which is then
 * told by an ethertype.
 */
static void locate_packet(struct retis_context *c)
{
	struct sk_buff *skb = c->skb;
	u64 places[4] = {}, lengths[1] = {}, head, data;
	u16 mac, network;
	u32 before;

	READ_SPAN(places, skb, network_header);
	head = (u64)IN_SPAN(places, skb, network_header, head);
	data = (u64)IN_SPAN(places, skb, network_header, data);
	mac = IN_SPAN(places, skb, network_header, mac_header);
	network = IN_SPAN(places, skb, network_header, network_header);
	c->packet_head = head;
	if (mac != HEADER_UNSET && is_ethernet(c->dev) &&
	    (!network || network == HEADER_UNSET || network >= mac + ETH_HLEN)) {
		c->packet = head + mac;
	} else if (network && network != HEADER_UNSET) {
		c->packet = head + network;
		c->packet_is_l3 = 1;
		c->packet_ethertype = ethertype(skb, c->packet);
	} else {
		return;
	}
	/* Both counts are of what follows skb->data, which may lie on either side of the start. */
	before = data - c->packet;
	READ_SPAN(lengths, skb, len);
	c->packet_len = IN_SPAN(lengths, skb, len, len) + before;
	c->packet_linear = c->packet_len - IN_SPAN(lengths, skb, len, data_len);
	if ((s32)c->packet_linear <= 0)
		c->packet = 0;
}
