/* Events counted (retis_py/process/stats_lines.py). */
#include "lines.h"

#define NO_PART -1
#define HAS_KEY (1ull << 63)

/* What an event is counted by: numbers of its parts. */
struct kind {
	int head, drop, device;
};

struct counted_kind {
	struct kind kind;
	u32 events;
};

/* A packet at an event. */
struct seen_packet {
	u64 time, head;		/* its id */
	u64 length;		/* on the wire, and HAS_KEY */
	u64 conversation;	/* its number from 1, 0 for none */
};

/* The memos are kept from piece to piece, but for the last three, which are of one piece. */
struct counting {
	const char *piece;
	size_t size;
	struct memo *heads, *drops, *devices;	/* for Python to judge */
	struct memo *sound, *doubtful;		/* nothing is counted of these; doubtful is Python's */
	struct memo *kinds, *keys, *conversations;
	size_t most;
	struct counted_kind *counts;
	struct seen_packet *at_events, *packets;
	size_t event_count, packet_count;
	u64 first, last;
	struct text last_packet;	/* often the next event's too */
	struct seen_packet last_read;
};

static const struct text counted_names[] = {
	{ "common", 6 }, { "kernel", 6 }, { "userspace", 9 }, { "skb-tracking", 12 },
	{ "skb-drop", 8 }, { "packet", 6 }, { "netns", 5 }, { "dev", 3 }, { "startup", 7 },
};

static bool is_counted(struct text key)
{
	for (size_t i = 0; i < sizeof(counted_names) / sizeof(*counted_names); i++)
		if (is_text(counted_names[i], key))
			return true;
	return false;
}

/* Whether a part is sections of which nothing is counted, in JSON that C can read. */
static bool is_sound(struct text part)
{
	const char *at = part.at, *end = at + part.size;
	struct text key, value;

	while (at < end) {
		if (*at != ',')
			return false;
		at = read_member(at + 1, end, 0, &key, &value);
		if (!at || is_counted(key))
			return false;
	}
	return true;
}

static bool take_number(struct memo *memo, struct text part, int *number)
{
	long found = NO_PART;

	if (part.size) {
		found = memo_number(memo, part);
		if (found < 0 || memo_refused(memo, found))
			return false;
	}
	*number = found;
	return true;
}

static bool take_rest(struct counting *c, struct text part)
{
	int number;

	if (!part.size || memo_find(c->sound, part) >= 0)
		return true;
	return take_number(is_sound(part) ? c->sound : c->doubtful, part, &number);
}

static bool take_packet(struct counting *c, struct text part, struct seen_packet *seen)
{
	unsigned char addresses[SENDERS_MOST];
	struct packet packet;
	long number = 0;
	size_t size;

	if (part.size && is_text(part, c->last_packet)) {
		*seen = c->last_read;
		return true;
	}
	if (!part.size || !read_packet(part, &packet) || !conversation(&packet, addresses, &size))
		return false;
	if (size) {
		number = 1 + memo_number(c->conversations, (struct text){ (char *)addresses, size });
		if (number <= 0)
			return false;
	}
	*seen = (struct seen_packet){ .length = packet.length, .conversation = number };
	c->last_packet = part;
	c->last_read = *seen;
	return true;
}

static bool take_ids(struct text part, struct seen_packet *seen)
{
	struct ids ids;

	if (read_ids(part.at, part.at + part.size, &ids) != part.at + part.size)
		return false;
	seen->time = ids.time;
	seen->head = ids.head;
	seen->length |= HAS_KEY;
	return true;
}

static bool count_kind(struct counting *c, struct kind kind)
{
	long known = memo_count(c->kinds), number;

	number = memo_number(c->kinds, (struct text){ (char *)&kind, sizeof(kind) });
	if (number < 0)
		return false;
	if (number == known)
		c->counts[number] = (struct counted_kind){ .kind = kind };
	c->counts[number].events++;
	return true;
}

static bool count_line(struct counting *c, const char *line, const char *end)
{
	struct seen_packet *seen = &c->at_events[c->event_count];
	struct seen_packet none = { 0 };
	struct kind kind;
	struct cut cut;
	struct text *parts = cut.parts;

	if (!cut_event(line, end, &cut))
		return false;
	if (!take_number(c->heads, parts[PART_HEAD], &kind.head) ||
	    !take_number(c->drops, parts[PART_DROP], &kind.drop) ||
	    !take_number(c->devices, parts[PART_DEVICE], &kind.device) ||
	    !take_rest(c, parts[PART_SKB]) || !take_rest(c, parts[PART_OTHERS]))
		return false;
	if (parts[PART_PACKET].size && !take_packet(c, parts[PART_PACKET], seen))
		return false;
	if (parts[PART_IDS].size &&
	    !take_ids(parts[PART_IDS], parts[PART_PACKET].size ? seen : &none))
		return false;
	c->event_count += parts[PART_PACKET].size > 0;
	c->first = cut.time < c->first ? cut.time : c->first;
	c->last = cut.time > c->last ? cut.time : c->last;
	return count_kind(c, kind);
}

/*
 * Each packet once, as it was at its first event; from the last to the first by their last events,
 * which is the order that Python's dictionary has. Behind them those that have no id.
 */
static bool gather_packets(struct counting *c)
{
	for (size_t i = c->event_count; i--;) {
		struct seen_packet *seen = &c->at_events[i];
		long number;

		if (!(seen->length & HAS_KEY))
			continue;
		number = memo_number(c->keys, (struct text){ (char *)seen, 2 * sizeof(u64) });
		if (number < 0)
			return false;
		c->packets[number] = *seen;
	}
	c->packet_count = memo_count(c->keys);
	for (size_t i = c->event_count; i--;)
		if (!(c->at_events[i].length & HAS_KEY))
			c->packets[c->packet_count++] = c->at_events[i];
	return true;
}

/* Count a piece, whole lines. Returns how many they are, or ANOTHER_LAYOUT. */
long count_piece(struct counting *c)
{
	const char *at = c->piece, *last = at + c->size, *end;
	size_t lines = 0;

	c->event_count = c->packet_count = 0;
	c->first = UINT64_MAX;
	c->last = 0;
	c->last_packet = (struct text){ NULL, 0 };
	memo_clear(c->kinds);
	memo_clear(c->keys);
	memo_clear(c->conversations);
	for (; at < last; at = end + 1, lines++) {
		end = find_byte(at, last, '\n');
		if (!end || lines == c->most || !count_line(c, at, end))
			return ANOTHER_LAYOUT;
	}
	return gather_packets(c) ? (long)lines : ANOTHER_LAYOUT;
}

/* Packets that came up lately, so that none is counted twice. */
struct lately {
	struct memo *recent, *before;
	long most;
};

static bool is_new(struct lately *lately, const struct seen_packet *seen)
{
	struct text key = { (const char *)seen, 2 * sizeof(u64) };
	struct memo *recent = lately->recent;
	long known = memo_count(recent);

	if (!(seen->length & HAS_KEY))
		return true;
	if (memo_find(lately->before, key) >= 0 || memo_number(recent, key) < known)
		return false;
	if (memo_count(recent) >= lately->most) {
		lately->recent = lately->before;
		lately->before = recent;
		memo_clear(lately->recent);
	}
	return true;
}

/*
 * Leave only those packets that were not seen lately; returns how many. Adds their packets and
 * bytes to the two sums of each conversation, 0 being for those without.
 */
size_t count_packets(struct lately *lately, struct seen_packet *packets, size_t count, u64 *sums)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		struct seen_packet seen = packets[i];

		if (!is_new(lately, &seen))
			continue;
		sums[2 * seen.conversation]++;
		sums[2 * seen.conversation + 1] += seen.length & ~HAS_KEY;
		packets[kept++] = seen;
	}
	return kept;
}
