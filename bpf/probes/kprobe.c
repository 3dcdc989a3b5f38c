/* A function's entry, loaded once for each shape: its address says which function it is. */

int kprobe(struct pt_regs *ctx)
{
	LOADED_CONSTANT(shape, PROBE_SHAPE);
	struct retis_context c = {
		.ctx = ctx,
		.probe = bpf_get_func_ip(ctx),
		.type = PROBE_KPROBE,
	};

	fill_context(&c, ctx, shape);
	return handle(&c);
}
