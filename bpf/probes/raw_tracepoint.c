/* A raw tracepoint, loaded once for each with its number and shape. */

int raw_tracepoint(struct bpf_raw_tracepoint_args *ctx)
{
	LOADED_CONSTANT(number, PROBE_NUMBER);
	LOADED_CONSTANT(shape, PROBE_SHAPE);
	struct retis_context c = {
		.ctx = ctx,
		.probe = number,
		.type = PROBE_RAW_TRACEPOINT,
	};

	fill_context(&c, ctx, shape);
	if (!is_wanted(&c))
		return 0;
	return report(&c);
}
