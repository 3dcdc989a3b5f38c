/* Events of USDT probes: of a process, with no packet of the kernel and no stack. What is probed and
 * why only collectors know, so that the programs for it are theirs.
 */

/* NULL where there is no room, which is counted. */
static struct buffer *begin_usdt_event(struct retis_context *c)
{
	struct part_userspace *part;
	struct buffer *b = take_buffer();

	if (!b) {
		count_loss(c, LOSS_BUFFER_BUSY);
		return NULL;
	}
	fill_header(c, (struct event_header *)b->bytes);
	part = ADD_PART(b, userspace);
	if (part)
		part->ip = PT_REGS_IP((struct pt_regs *)c->ctx);
	return b;
}

static void end_usdt_event(struct retis_context *c, struct buffer *b)
{
	((struct event_header *)b->bytes)->parts = b->parts;
	send(c, b);
	b->busy = 0;
}
