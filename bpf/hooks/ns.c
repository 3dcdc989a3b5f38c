/* The network namespace: of the device, else of the socket, else of an argument. */

KERNEL_STRUCT(sock, __sk_common.skc_net.net);
KERNEL_STRUCT(net, ns.inum, net_cookie);

static void hook_ns(struct retis_context *c, struct buffer *b)
{
	struct part_netns *part;
	struct net *net = c->dev ? c->dev_net : NULL;
	u32 inum;

	if (!net && c->sk)
		net = READ(c->sk->__sk_common.skc_net.net);
	if (!net)
		net = c->net;
	if (!net)
		return;
	inum = c->dev ? c->dev_inum : READ(net->ns.inum);
	if (inum < NETNS_INUM_FIRST)
		return;
	part = ADD_PART(b, netns);
	if (!part)
		return;
	part->inum = inum;
#ifndef NO_net__net_cookie
	part->cookie = READ(net->net_cookie);
	/* Kernels before Linux 5.12 make it when it is first asked for. */
	part->has_cookie = part->cookie != 0;
#endif
}
