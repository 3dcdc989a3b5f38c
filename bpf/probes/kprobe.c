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
#ifdef STACK_CONTEXT
	if (shape_field(shape, SHAPE_CONTEXT)) {
		if (!take_handled(&c))
			return 0;
		read_clock(&c);
		look(&c);
		return report(&c);
	}
#endif
	if (!is_wanted(&c))
		return 0;
#ifdef STACK_CONTEXT
	if (c.skb)
		begin_handling(&c, PT_REGS_SP(ctx));
#endif
	return report(&c);
}

#ifdef STACK_CONTEXT
int handling_ends(struct pt_regs *ctx)
{
	LOADED_CONSTANT(number, PROBE_NUMBER);

	end_handling(number ? number : bpf_get_func_ip(ctx),
		     PT_REGS_SP(ctx) - RETURN_ADDRESS_SIZE);
	return 0;
}
#endif
