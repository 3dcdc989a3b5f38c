/* Section packet: its bytes, and between which addresses it travels (process/conversation.py). */
#include "lines.h"

#define INVALID 64

enum { MAC_SIZE = 6, ETHERNET_SIZE = 14, VLAN_SIZE = 4 };

/* The six bits of a character of base64 (RFC 4648). */
static unsigned int sextet(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : INVALID;
}

static void put_byte(struct packet *packet, unsigned int byte)
{
	if (packet->known < sizeof(packet->bytes))
		packet->bytes[packet->known++] = byte;
	packet->captured++;
}

/* Four characters, of which the last ones may be padding. Bits that nothing is made of must be 0. */
static bool read_four(struct packet *packet, const char *at, unsigned int padding)
{
	u32 bits = 0;

	for (unsigned int i = 0; i < 4; i++) {
		unsigned int six = i < 4 - padding ? sextet(at[i]) : 0;

		if (six == INVALID)
			return false;
		bits = bits << 6 | six;
	}
	if (padding && bits & ((1u << 8 * padding) - 1))
		return false;
	for (unsigned int i = 0; i < 3 - padding; i++)
		put_byte(packet, bits >> (16 - 8 * i) & 0xff);
	return true;
}

static bool read_base64(struct packet *packet, const char *at, const char *end)
{
	unsigned int padding = 0;

	if ((end - at) % 4)
		return false;
	for (; at < end; at += 4) {
		if (end - at == 4)
			padding = at[3] != '=' ? 0 : at[2] != '=' ? 1 : 2;
		if (!read_four(packet, at, padding))
			return false;
	}
	return true;
}

/* Read the section as retis writes it, in whole. */
bool read_packet(struct text part, struct packet *packet)
{
	const char *at = part.at, *end = at + part.size;
	const struct text names[] = { TEXT(",\"packet\":{\"len\":"), TEXT(",\"capture_len\":") };
	u64 numbers[2];

	packet->known = packet->captured = 0;
	for (int i = 0; i < 2; i++) {
		if (!begins(at, end, names[i]))
			return false;
		at = read_number(at + names[i].size, end, &numbers[i]);
		if (!at || numbers[i] > UINT32_MAX)
			return false;
	}
	packet->length = numbers[0];
	if (!begins(at, end, TEXT(",\"data\":\"")) || end - at < 11 || end[-1] != '}' || end[-2] != '"')
		return false;
	return read_base64(packet, at + 9, end - 2);
}

static unsigned int u16_at(const struct packet *packet, size_t at)
{
	return packet->bytes[at] << 8 | packet->bytes[at + 1];
}

static bool is_vlan(unsigned int ethertype)
{
	return ethertype == 0x8100 || ethertype == 0x88a8 || ethertype == 0x9100;
}

/*
 * The ethertype behind the VLAN tags, and where it ends: what follows is not checked to be there.
 * That of a tag where it is cut; false where more is needed than is known.
 */
bool network_layer(const struct packet *packet, size_t *at, unsigned int *ethertype)
{
	*at = ETHERNET_SIZE;
	if (packet->known < ETHERNET_SIZE)
		return false;
	for (*ethertype = u16_at(packet, 12); is_vlan(*ethertype); *at += VLAN_SIZE) {
		if (packet->captured < *at + VLAN_SIZE)
			break;
		if (packet->known < *at + VLAN_SIZE)
			return false;
		*ethertype = u16_at(packet, *at + 2);
	}
	return true;
}

bool conversation(const struct packet *packet, unsigned char *addresses, size_t *size)
{
	size_t at, one = MAC_SIZE, first = MAC_SIZE, second = 0;
	unsigned int ethertype;

	*size = 0;
	if (packet->captured < ETHERNET_SIZE)
		return true;
	if (!network_layer(packet, &at, &ethertype))
		return false;
	if (ethertype == 0x0800 && packet->captured >= at + 20) {
		one = 4, first = at + 12, second = at + 16;
	} else if (ethertype == 0x86dd && packet->captured >= at + 40) {
		one = 16, first = at + 8, second = at + 24;
	}
	if (packet->known < first + one || packet->known < second + one)
		return false;
	if (memcmp(packet->bytes + first, packet->bytes + second, one) > 0) {
		size_t other = first;

		first = second;
		second = other;
	}
	memcpy(addresses, packet->bytes + first, one);
	memcpy(addresses + one, packet->bytes + second, one);
	*size = 2 * one;
	return true;
}
