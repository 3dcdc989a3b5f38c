/* Tracking's own: the tracepoints that see an skb freed. Both have the skb as first argument. */
int forget_packet(struct bpf_raw_tracepoint_args *ctx)
{
	forget((struct sk_buff *)ctx->args[0]);
	return 0;
}
