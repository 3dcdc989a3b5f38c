/*
 * The usual packets as text (retis_py/packet/): IP without options, and in it TCP, UDP or ICMP.
 * All others, whatever is odd about them, are Python's.
 */
#include <arpa/inet.h>

#include "lines.h"

#define MOST_TEXT 512		/* more than what is written for a packet at most */
#define FARTHEST 64		/* where IP begins at most, so that its headers are known or not there */

enum { ICMP = 1, TCP = 6, UDP = 17, ICMPV6 = 58 };
enum { IPV4_SIZE = 20, IPV6_SIZE = 40, ICMP_KNOWN = 4, UDP_SIZE = 8, TCP_SIZE = 20 };
enum { VXLAN = 4789, VXLAN_BEFORE = 8472, GENEVE = 6081 };	/* ports of tunnels */

static const struct text ecn[] = { { "", 0 }, { " ECT(1)", 7 }, { " ECT(0)", 7 }, { " CE", 3 } };

/* As in ipv4.py, which says why two of the names are swapped. */
static const struct text fragment_flags[] = {
	{ "", 0 },     { " [rsvd]", 7 },   { " [DF]", 5 },   { " [DF,rsvd]", 10 },
	{ " [+]", 4 }, { " [+,rsvd]", 9 }, { " [+,DF]", 7 }, { " [+,DF,rsvd]", 12 },
};

/* What IP says of what it carries; all of its header is known. */
struct carried {
	unsigned int protocol;
	size_t at, end;		/* as far as known */
	u64 length;		/* as IP states it */
};

static char *put_named(char *out, struct text name, u64 number)
{
	return put_decimal(put(out, name), number);
}

static unsigned int u16(const unsigned char *at)
{
	return at[0] << 8 | at[1];
}

static u32 u32_of(const unsigned char *at)
{
	return (u32)u16(at) << 16 | u16(at + 2);
}

static bool has_ports(const struct carried *carried)
{
	return carried->protocol == TCP || carried->protocol == UDP;
}

/* Whether it is what is worded here, and its header is there as a whole. */
static bool is_ours(const struct packet *packet, struct carried *carried)
{
	const unsigned char *at = packet->bytes + carried->at;
	size_t needed;

	carried->end = carried->at + carried->length;
	if (carried->end > packet->known)
		carried->end = packet->known;
	switch (carried->protocol) {
	case ICMP:
	case ICMPV6:
		needed = ICMP_KNOWN;
		break;
	case UDP:
		needed = UDP_SIZE;
		break;
	case TCP:
		needed = TCP_SIZE;
		break;
	default:
		return false;
	}
	if (carried->at + needed > carried->end)
		return false;
	return carried->protocol != UDP ||
	       (u16(at + 2) != VXLAN && u16(at + 2) != VXLAN_BEFORE && u16(at + 2) != GENEVE);
}

/* Both addresses, with ports where there are some; NULL for what inet_ntop() writes otherwise. */
static char *put_ends(char *out, const struct packet *packet, const struct carried *carried,
		      int family, const unsigned char *address)
{
	static const unsigned char none[12];
	size_t size = family == AF_INET ? 4 : 16;

	for (int i = 0; i < 2; i++, address += size) {
		if (family == AF_INET6 && !memcmp(address, none, sizeof(none)))
			return NULL;
		if (i)
			out = put(out, TEXT(" > "));
		if (!inet_ntop(family, address, out, INET6_ADDRSTRLEN))
			return NULL;
		out += strlen(out);
		if (has_ports(carried))
			out = put_named(out, TEXT("."),
					u16(packet->bytes + carried->at + 2 * i));
	}
	return out;
}

static char *put_ipv4(char *out, const struct packet *packet, size_t at, struct carried *carried)
{
	const unsigned char *header = packet->bytes + at;
	unsigned int total = u16(header + 2), fragment = u16(header + 6);

	if ((header[0] & 15) != IPV4_SIZE / 4 || total <= IPV4_SIZE)
		return NULL;
	carried->protocol = header[9];
	carried->at = at + IPV4_SIZE;
	carried->length = total - IPV4_SIZE;
	if (!is_ours(packet, carried))
		return NULL;
	out = put_ends(out, packet, carried, AF_INET, header + 12);
	if (!out)
		return NULL;
	out = put_hex(put(out, TEXT(" tos 0x")), header[1] >> 2, 1);
	out = put(out, ecn[header[1] & 3]);
	out = put_named(out, TEXT(" ttl "), header[8]);
	out = put_named(out, TEXT(" id "), u16(header + 4));
	out = put_named(out, TEXT(" off "), (fragment & 0x1fff) * 8);
	out = put(out, fragment_flags[fragment >> 13]);
	return put_named(out, TEXT(" len "), total);
}

static char *put_ipv6(char *out, const struct packet *packet, size_t at, struct carried *carried)
{
	const unsigned char *header = packet->bytes + at;
	u32 word = u32_of(header);

	carried->protocol = header[6];
	carried->at = at + IPV6_SIZE;
	carried->length = u16(header + 4);
	if (!is_ours(packet, carried))
		return NULL;
	out = put_ends(out, packet, carried, AF_INET6, header + 8);
	if (!out)
		return NULL;
	out = put(out, ecn[word >> 20 & 3]);
	out = put_named(out, TEXT(" ttl "), header[7]);
	out = put_hex(put(out, TEXT(" label 0x")), word & 0xfffff, 1);
	return put_named(out, TEXT(" len "), carried->length);
}

static char *put_icmp(char *out, const unsigned char *header, struct text name)
{
	out = put(out, name);
	out = put_named(out, TEXT(" type "), header[0]);
	return put_named(out, TEXT(" code "), header[1]);
}

static char *put_udp(char *out, const unsigned char *header)
{
	unsigned int length = u16(header + 4);

	return put_named(out, TEXT(" proto UDP (17) len "), length > UDP_SIZE ? length - UDP_SIZE : 0);
}

/* Options as Linux sends them in each segment of a connection; NULL for others. */
static char *put_tcp_options(char *out, const unsigned char *options, size_t size)
{
	if (size != 12 || memcmp(options, "\1\1\x08\x0a", 4))
		return NULL;
	out = put_named(out, TEXT(" [nop,nop,TS val "), u32_of(options + 4));
	out = put_named(out, TEXT(" ecr "), u32_of(options + 8));
	return put(out, TEXT("]"));
}

static char *put_tcp(char *out, const unsigned char *header, const struct carried *carried)
{
	unsigned int bits = u16(header + 12);
	size_t size = bits >> 12 << 2, there = carried->end - carried->at;
	u32 sequence = u32_of(header + 4);

	out = put(out, TEXT(" proto TCP (6) flags ["));
	for (int bit = 0; bit < 9; bit++)
		if (bits >> bit & 1)
			*out++ = "FSRP.UEWe"[bit];
	out = put_named(out, TEXT("] seq "), sequence);
	if (carried->length > size)
		out = put_named(out, TEXT(":"), (u32)(sequence + carried->length - size));
	if (bits & 0x10)
		out = put_named(out, TEXT(" ack "), u32_of(header + 8));
	out = put_named(out, TEXT(" win "), u16(header + 14));
	if (size <= TCP_SIZE)
		return out;
	return put_tcp_options(out, header + TCP_SIZE, (size < there ? size : there) - TCP_SIZE);
}

/* Returns what follows the text, NULL where Python is to word it. */
static char *put_packet(char *out, const struct packet *packet)
{
	struct carried carried;
	unsigned int ethertype;
	size_t at;

	if (!network_layer(packet, &at, &ethertype) || at > FARTHEST)
		return NULL;
	if (ethertype == 0x0800 && packet->known >= at + IPV4_SIZE)
		out = put_ipv4(out, packet, at, &carried);
	else if (ethertype == 0x86dd && packet->known >= at + IPV6_SIZE)
		out = put_ipv6(out, packet, at, &carried);
	else
		return NULL;
	if (!out)
		return NULL;
	switch (carried.protocol) {
	case ICMP:
		return put_icmp(out, packet->bytes + carried.at, TEXT(" proto ICMP (1)"));
	case ICMPV6:
		return put_icmp(out, packet->bytes + carried.at, TEXT(" proto ICMPv6 (58)"));
	case UDP:
		return put_udp(out, packet->bytes + carried.at);
	default:
		return put_tcp(out, packet->bytes + carried.at, &carried);
	}
}

/*
 * Word packets from a number on, up to one that is Python's. Returns its number, or how many there
 * are. What is around each text are two short texts.
 */
long words_packets(struct memo *memo, long number, const struct text *around)
{
	char text[MOST_TEXT], *start, *end;
	struct packet packet;
	struct text part;

	for (; number < memo_count(memo); number++) {
		part.at = memo_text(memo, number, &part.size);
		start = put(text, around[0]);
		if (!read_packet(part, &packet) || !(end = put_packet(start, &packet)))
			break;
		end = put(end, around[1]);
		if (!memo_word(memo, number, text, end - text, NULL, 0))
			break;
	}
	return number;
}
