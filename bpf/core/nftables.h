/* What functions of nf_tables are given, and what it leads to: the packet, and for
 * __nft_trace_packet() the step of the evaluation that it tells of
 * (include/net/netfilter/nf_tables.h, net/netfilter/nf_tables_core.c).
 */

KERNEL_STRUCT(nft_pktinfo, skb, state);
KERNEL_STRUCT(nf_hook_state, net);
KERNEL_STRUCT(nft_traceinfo, trace, pkt);

static void take_nft_pktinfo(struct retis_context *c, struct nft_pktinfo *pkt)
{
#ifndef NO_nft_pktinfo
	struct nf_hook_state *state = READ(pkt->state);

	if (!c->skb)
		c->skb = READ(pkt->skb);
	if (!c->net && state)
		c->net = READ(state->net);
#endif
}

static void take_nft_traceinfo(struct retis_context *c, struct nft_traceinfo *info)
{
	/* Gone with Linux 6.4; functions have it as an argument since. */
#if !defined(NO_nft_traceinfo) && !defined(NO_nft_traceinfo__pkt)
	/* The others are not set where this is not. */
	if (READ(info->trace))
		take_nft_pktinfo(c, READ(info->pkt));
#endif
}

#ifdef NFT_VERDICTS
KERNEL_STRUCT(nft_traceinfo, trace, basechain, rule, verdict);
KERNEL_STRUCT(nft_base_chain, chain, policy);
KERNEL_STRUCT(nft_verdict, code, chain);
KERNEL_STRUCT(nft_rule_blob, size, data);
KERNEL_STRUCT(nft_rule_dp, handle, is_last);
KERNEL_STRUCT(nft_rule_dp_last, chain);
KERNEL_STRUCT(nft_rule, handle);

/* enum nft_verdicts (include/uapi/linux/netfilter/nf_tables.h), NF_* (linux/netfilter.h). */
#define NFT_CONTINUE -1
#define NFT_JUMP -3
#define NFT_GOTO -4
#define NFT_RETURN -5			/* the lowest */
#define NF_VERDICT_MASK 0xff		/* above it an errno or a queue's number */
#define NF_STOLEN 2

#ifdef NFT_PLACE_RULE
KERNEL_STRUCT(nft_chain, blob_gen_0, blob_gen_1, list, table);
KERNEL_STRUCT(nft_table, chains);
KERNEL_STRUCT(list_head, next);

/* Each costs the verifier time when the program is loaded: together a tenth of a second. */
#define NFT_RULES_WALKED 2048
#define NFT_CHAINS_ASKED 256

static bool is_in_blob(struct nft_rule_blob *blob, void *rule)
{
	u64 start = (u64)&blob->data;

	/* The rule may be the mark at the end. */
	return blob && (u64)rule >= start && (u64)rule <= start + READ(blob->size);
}

static bool has_rule(struct nft_chain *chain, void *rule)
{
	return is_in_blob(READ(chain->blob_gen_0), rule) ||
	       is_in_blob(READ(chain->blob_gen_1), rule);
}

/* The chain that the mark behind its last rule tells. */
static struct nft_chain *chain_at_end(void *rule)
{
	u64 header;
	u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < NFT_RULES_WALKED; i++) {
		header = 0;
		bpf_probe_read_kernel(&header, sizeof(header), rule);
		if (header >> NFT_RULE_IS_LAST & 1)
			return READ(((struct nft_rule_dp_last *)rule)->chain);
		rule += NFT_RULE_SIZE + (header >> NFT_RULE_DLEN & NFT_RULE_DLEN_MASK);
	}
	return NULL;
}

static struct nft_chain *chain_in_table(struct nft_table *table, void *rule)
{
	struct list_head *head = (struct list_head *)&table->chains, *at = READ(head->next);
	struct nft_chain *chain;
	u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < NFT_CHAINS_ASKED && at && at != head; i++) {
		chain = (void *)at - __builtin_offsetof(struct nft_chain, list);
		if (has_rule(chain, rule))
			return chain;
		at = READ(at->next);
	}
	return NULL;
}

/* Since Linux commit 63e9bbbcca60 (v6.4) the kernel does not say which chain it is in, and walks to
 * its end to find out. Base chains are asked first; long ones mostly are.
 */
static struct nft_chain *chain_of(struct nft_base_chain *base, void *rule)
{
	struct nft_chain *first = (struct nft_chain *)&base->chain, *chain;

	if (!rule || has_rule(first, rule))
		return first;
	chain = chain_at_end(rule);
	return chain ? chain : chain_in_table(READ(first->table), rule);
}
#endif

/* 0 at the end of a chain, where no rule gave the verdict. The type should say so, and since Linux
 * commit 4d26ab0086aa (v6.7) does not.
 */
static u64 handle_of(void *rule, u32 type, s32 code)
{
	if (!rule || ((u8)type == NFT_TRACETYPE_RETURN && code == NFT_CONTINUE))
		return 0;
#ifndef NO_nft_rule_dp
	if (READ_nft_rule_dp__is_last((struct nft_rule_dp *)rule))
		return 0;
	return READ_nft_rule_dp__handle((struct nft_rule_dp *)rule);
#else
	return READ_nft_rule__handle((struct nft_rule *)rule);
#endif
}

/* Which step it is; the context is unwanted where nobody asked for its verdict. */
static void take_nft_step(struct retis_context *c, void *ctx, struct nft_traceinfo *info, u32 type)
{
	struct nft_base_chain *base = READ(info->basechain);
	struct nft_verdict *verdict;
	void *rule;
	s32 code;

	c->unwanted = 1;
	if (!READ(info->trace))
		return;
#ifdef NFT_PLACE_VERDICT
	verdict = word_at(ctx, NFT_PLACE_VERDICT);
#else
	verdict = READ(info->verdict);
#endif
#ifdef NFT_PLACE_RULE
	rule = word_at(ctx, NFT_PLACE_RULE);
#else
	rule = READ(info->rule);
#endif
	c->nft_policy = (u8)type == NFT_TRACETYPE_POLICY;
	code = c->nft_policy ? READ(base->policy) : (s32)READ(verdict->code);
	if (code >= 0 || code < NFT_RETURN)
		code &= NF_VERDICT_MASK;
	if (code > 10 || !(NFT_VERDICTS >> (code - NFT_RETURN) & 1))
		return;
	c->nft_verdict = code;
	if (!c->nft_policy && (code == NFT_JUMP || code == NFT_GOTO))
		c->nft_target = READ(verdict->chain);
#ifdef NFT_PLACE_CHAIN
	c->nft_chain = word_at(ctx, NFT_PLACE_CHAIN);
#else
	c->nft_chain = chain_of(base, rule);
#endif
	c->nft_rule_handle = handle_of(rule, type, code);
	/* Whoever stole the packet may have freed it by now. */
	if (code == NF_STOLEN)
		c->skb = NULL;
	c->unwanted = 0;
}
#endif
