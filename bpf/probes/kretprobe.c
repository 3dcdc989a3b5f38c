/* A function's return, with its entry's arguments: one program at its entry, one at its return. */

int kretprobe_entry(struct pt_regs *ctx)
{
	LOADED_CONSTANT(number, PROBE_NUMBER);
	LOADED_CONSTANT(shape, PROBE_SHAPE);
	struct retis_context c = {
		.ctx = ctx,
		.probe = number ? number : bpf_get_func_ip(ctx),
		.type = PROBE_KRETPROBE,
#ifdef ROLES
		.stack_pointer = PT_REGS_SP(ctx),
#endif
	};

	fill_context(&c, ctx, shape);
	return enter(&c, PT_REGS_SP(ctx));
}

int kretprobe(struct pt_regs *ctx)
{
	LOADED_CONSTANT(number, PROBE_NUMBER);
	LOADED_CONSTANT(shape, PROBE_SHAPE);
	struct retis_context c = {
		.ctx = ctx,
		.probe = number ? number : bpf_get_func_ip(ctx),
		.type = PROBE_KRETPROBE,
		.want_stack = shape_field(shape, SHAPE_STACK),
#ifdef ROLES
		.stack_pointer = PT_REGS_SP(ctx) - RETURN_ADDRESS_SIZE,
		.returned = PT_REGS_RC(ctx),
#endif
	};

	fill_role(&c, shape);

	return leave(&c, PT_REGS_SP(ctx) - RETURN_ADDRESS_SIZE);
}
