/* A step of the nf_tables evaluation: where in the ruleset, and what came of it. */

KERNEL_STRUCT(nft_chain, table, handle, name);
KERNEL_STRUCT(nft_table, name, handle);

static void copy_name(char *to, u32 size, char *from)
{
	to[0] = 0;
	bpf_probe_read_kernel_str(to, size, from);
}

static void add_nft_target(struct retis_context *c, struct buffer *b)
{
	struct part_nft_target *part = RESERVE_PART(b, nft_target);

	if (part)
		copy_name(part->name, sizeof(part->name), READ(c->nft_target->name));
}

static void hook_nft(struct retis_context *c, struct buffer *b)
{
	struct nft_chain *chain = c->nft_chain;
	struct nft_table *table;
	struct part_nft *part;

	if (!chain)
		return;
	part = RESERVE_PART(b, nft);
	if (!part)
		return;
	table = READ(chain->table);
	part->table_handle = READ(table->handle);
	part->chain_handle = READ(chain->handle);
	part->rule_handle = c->nft_rule_handle;
	part->verdict = c->nft_verdict;
	part->policy = c->nft_policy;
	copy_name(part->table_name, sizeof(part->table_name), READ(table->name));
	copy_name(part->chain_name, sizeof(part->chain_name), READ(chain->name));
	if (c->nft_target)
		add_nft_target(c, b);
}
