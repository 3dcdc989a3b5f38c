/* The connection that the packet belongs to (include/net/netfilter/nf_conntrack.h). */

KERNEL_STRUCT(sk_buff, _nfct, protocol);
KERNEL_STRUCT(nf_conn, tuplehash, status, mark, zone.id, zone.dir, ext, master, proto.tcp.state,
	      proto.sctp.state, proto.sctp.vtag);
KERNEL_STRUCT(nf_conntrack_tuple_hash, tuple);
KERNEL_STRUCT(nf_conntrack_tuple, src.u3.all, src.u.all, src.l3num, dst.u3.all, dst.u.all,
	      dst.protonum);
KERNEL_STRUCT(nf_ct_ext, offset);

/* skb->_nfct is a pointer with an enum ip_conntrack_info in its low bits (NFCT_INFOMASK). */
#define CT_INFO_MASK 7UL
#define CT_INFO_LAST 4			/* IP_CT_RELATED_REPLY */
#define CT_INFO_UNTRACKED 7		/* IP_CT_UNTRACKED */

#define CT_ORIGINAL 0			/* enum ip_conntrack_dir */
#define CT_REPLY 1
#define CT_IPV4 2			/* AF_INET, AF_INET6 */
#define CT_IPV6 10
#define CT_ZONE_BOTH 3			/* NF_CT_DEFAULT_ZONE_DIR */

struct ct_tuples {
	struct nf_conntrack_tuple orig __attribute__((aligned(8)));
	struct nf_conntrack_tuple reply __attribute__((aligned(8)));
};

struct ct_labels {
	u64 lo, hi;
};

static void read_tuple(struct nf_conn *ct, u32 direction, struct nf_conntrack_tuple *tuple)
{
	struct nf_conntrack_tuple_hash *hash;

	hash = (struct nf_conntrack_tuple_hash *)&ct->tuplehash[direction];
	bpf_probe_read_kernel(tuple, sizeof(*tuple), &hash->tuple);
}

/* The address family of what the event file has room for, else 0: templates (`ct zone set`) are
 * no connections and have no tuples.
 */
static u16 read_tuples(struct nf_conn *ct, struct ct_tuples *t)
{
	u8 protocol;

	read_tuple(ct, CT_ORIGINAL, &t->orig);
	read_tuple(ct, CT_REPLY, &t->reply);
	protocol = t->orig.dst.protonum;
	if (protocol != CT_TCP && protocol != CT_UDP && protocol != CT_ICMP &&
	    protocol != CT_ICMPV6 && protocol != CT_SCTP)
		return 0;
	return t->orig.src.l3num;
}

/* False where none is set. */
static bool read_labels(struct nf_conn *ct, struct ct_labels *labels)
{
#if defined(NF_CT_EXT_LABELS) && !defined(NO_nf_conn__ext)
	struct nf_ct_ext *ext = READ(ct->ext);
	u64 offset;

	if (!ext)
		return false;
	offset = READ(ext->offset[NF_CT_EXT_LABELS]);
	if (!offset)
		return false;
	bpf_probe_read_kernel(labels, sizeof(*labels), (void *)ext + offset);
	return labels->lo || labels->hi;
#else
	return false;
#endif
}

/* What all connections' parts begin with, as this one does. */
static void fill_connection(struct part_ct_ipv4 *part, struct nf_conn *ct, struct ct_tuples *t)
{
	u8 protocol = t->orig.dst.protonum;

	part->status = READ(ct->status);
#ifndef NO_nf_conn__mark
	part->mark = READ(ct->mark);
#endif
	part->zone_dir = CT_ZONE_BOTH;
#ifndef NO_nf_conn__zone__id
	part->zone_id = READ(ct->zone.id);
	part->zone_dir = READ(ct->zone.dir);
#endif
	part->protocol = protocol;
	part->orig_src = bpf_ntohs(t->orig.src.u.all);
	part->orig_dst = bpf_ntohs(t->orig.dst.u.all);
	part->reply_src = bpf_ntohs(t->reply.src.u.all);
	part->reply_dst = bpf_ntohs(t->reply.dst.u.all);
	if (protocol == CT_TCP) {
		part->proto_state = READ(ct->proto.tcp.state);
	} else if (protocol == CT_SCTP) {
#ifndef NO_nf_conn__proto__sctp__state
		part->proto_state = READ(ct->proto.sctp.state);
		part->orig_vtag = __builtin_bswap32(READ(ct->proto.sctp.vtag[CT_ORIGINAL]));
		part->reply_vtag = __builtin_bswap32(READ(ct->proto.sctp.vtag[CT_REPLY]));
#endif
	}
}

#define FILL_ADDRESSES(part, t) do {							\
	__builtin_memcpy((part)->orig_saddr, (t).orig.src.u3.all, sizeof((part)->orig_saddr)); \
	__builtin_memcpy((part)->orig_daddr, (t).orig.dst.u3.all, sizeof((part)->orig_daddr)); \
	__builtin_memcpy((part)->reply_saddr, (t).reply.src.u3.all, sizeof((part)->reply_saddr)); \
	__builtin_memcpy((part)->reply_daddr, (t).reply.dst.u3.all, sizeof((part)->reply_daddr)); \
} while (0)

static bool add_connection(struct buffer *b, struct nf_conn *ct, u8 info)
{
	struct ct_tuples t = {};
	u16 family = read_tuples(ct, &t);
	struct part_ct_ipv6 *part6;
	struct part_ct_ipv4 *part;

	if (family == CT_IPV4) {
		part = ADD_PART(b, ct_ipv4);
		if (!part)
			return false;
		FILL_ADDRESSES(part, t);
	} else if (family == CT_IPV6) {
		part6 = ADD_PART(b, ct_ipv6);
		if (!part6)
			return false;
		FILL_ADDRESSES(part6, t);
		part = (struct part_ct_ipv4 *)part6;
	} else {
		return false;
	}
	fill_connection(part, ct, &t);
	part->info = info;
	return true;
}

static void add_labels(struct buffer *b, struct nf_conn *ct)
{
	struct part_ct_labels *part;
	struct ct_labels labels = {};

	if (!read_labels(ct, &labels))
		return;
	part = ADD_PART(b, ct_labels);
	if (!part)
		return;
	part->labels_lo = labels.lo;
	part->labels_hi = labels.hi;
}

/* The connection that announced this one, such as FTP's control connection. */
static void add_parent(struct buffer *b, struct nf_conn *ct)
{
	struct part_ct_parent_ipv6 *part6;
	struct part_ct_parent_ipv4 *part4;
	struct part_ct_ipv4 *part;
	struct ct_labels labels = {};
	struct ct_tuples t = {};
	u16 family = read_tuples(ct, &t);

	read_labels(ct, &labels);
	if (family == CT_IPV4) {
		part4 = ADD_PART(b, ct_parent_ipv4);
		if (!part4)
			return;
		FILL_ADDRESSES(part4, t);
		part4->labels_lo = labels.lo;
		part4->labels_hi = labels.hi;
		part = (struct part_ct_ipv4 *)part4;
	} else if (family == CT_IPV6) {
		part6 = ADD_PART(b, ct_parent_ipv6);
		if (!part6)
			return;
		FILL_ADDRESSES(part6, t);
		part6->labels_lo = labels.lo;
		part6->labels_hi = labels.hi;
		part = (struct part_ct_ipv4 *)part6;
	} else {
		return;
	}
	fill_connection(part, ct, &t);
}

static void add_untracked(struct buffer *b, struct sk_buff *skb)
{
	struct part_ct_untracked *part = ADD_PART(b, ct_untracked);

	if (part)
		part->ethertype = bpf_ntohs(READ(skb->protocol));
}

static void hook_ct(struct retis_context *c, struct buffer *b)
{
	struct nf_conn *ct, *parent;
	u64 nfct;
	u8 info;

	if (!c->skb)
		return;
	nfct = READ(c->skb->_nfct);
	info = nfct & CT_INFO_MASK;
	ct = (struct nf_conn *)(nfct & ~CT_INFO_MASK);
	if (!ct) {
		if (info == CT_INFO_UNTRACKED)
			add_untracked(b, c->skb);
		return;
	}
	if (info > CT_INFO_LAST || !add_connection(b, ct, info))
		return;
	add_labels(b, ct);
	parent = READ(ct->master);
	if (parent)
		add_parent(b, parent);
}
