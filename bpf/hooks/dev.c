/* The network device that the packet is at. */

KERNEL_STRUCT(sk_buff, skb_iif);
KERNEL_STRUCT(net_device, name, ifindex);

static void hook_dev(struct retis_context *c, struct buffer *b)
{
	struct part_dev *part;

	if (!c->dev)
		return;
	part = ADD_PART(b, dev);
	if (!part)
		return;
	bpf_probe_read_kernel_str(part->name, sizeof(part->name), &c->dev->name);
	part->ifindex = READ(c->dev->ifindex);
	if (c->skb)
		part->rx_ifindex = READ(c->skb->skb_iif);
}
