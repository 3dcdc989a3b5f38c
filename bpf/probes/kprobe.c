/* A function's entry, loaded once for each shape: its address says which function it is. Kernels
 * before Linux 5.15 do not tell it, and it is loaded for each function with that as its number.
 */

int kprobe(struct pt_regs *ctx)
{
	LOADED_CONSTANT(number, PROBE_NUMBER);
	LOADED_CONSTANT(shape, PROBE_SHAPE);
	struct retis_context c = {
		.ctx = ctx,
		.probe = number ? number : bpf_get_func_ip(ctx),
		.type = PROBE_KPROBE,
	};

	fill_context(&c, ctx, shape);
	if (!is_wanted(&c))
		return 0;
	return report(&c);
}
