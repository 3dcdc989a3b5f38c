/*
 * What Python is too slow for: looking at each line of an event file.
 *
 * Called through ctypes (retis_py/compiled.py). The input is untrusted: any bytes, cut anywhere.
 * A line that is not exactly in the layout of retis_py/events/layout.py is never guessed at: the
 * whole piece, or the line, is left to the Python code, which reads any JSON and says what is wrong.
 */
#ifndef RETIS_LINES_H
#define RETIS_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint32_t u32;
typedef uint64_t u64;

#define ANOTHER_LAYOUT -1L		/* the piece is Python's */
#define NO_MEMORY -2L
#define NOT_KNOWN -3L

/* Counted up when a function or struct changes that Python sees: _INTERFACE in compiled.py. */
#define INTERFACE 2

int interface(void);

/* Bytes that lie somewhere else; never with a NUL at their end. */
struct text {
	const char *at;
	size_t size;
};

#define TEXT(literal) ((struct text){ (literal), sizeof(literal) - 1 })

static inline bool begins(const char *at, const char *end, struct text with)
{
	return (size_t)(end - at) >= with.size && !memcmp(at, with.at, with.size);
}

static inline const char *find_byte(const char *at, const char *end, char byte)
{
	return at < end ? memchr(at, byte, end - at) : NULL;
}

/* Sections, in their order in an event. A part of an event is one of these and what follows it. */
enum part {
	PART_HEAD,		/* the rest of common, kernel, userspace */
	PART_IDS,		/* tracking, skb-tracking */
	PART_DROP,
	PART_PACKET,
	PART_SKB,
	PART_DEVICE,		/* netns, dev */
	PART_OTHERS,
	PARTS
};

/* An event, cut where its sections begin; together all of it but "{...:TIME" and the last brace. */
struct cut {
	u64 time;
	struct text digits;	/* of the time */
	struct text parts[PARTS];
};

bool cut_head(const char *line, const char *end, struct cut *cut);
bool cut_event(const char *line, const char *end, struct cut *cut);
const char *find_section(const char *at, const char *end, struct text name);

/* Packet's id: all there is in skb-tracking. */
struct ids {
	u64 head, time, skb;
};

static inline bool is_text(struct text a, struct text b)
{
	return a.size == b.size && !memcmp(a.at, b.at, a.size);
}

static inline char *put(char *out, struct text text)
{
	if (text.size)
		memcpy(out, text.at, text.size);
	return out + text.size;
}

const char *read_ids(const char *at, const char *end, struct ids *ids);

/* Section packet (packet.c). */
struct packet {
	u32 length;		/* on the wire */
	size_t captured;
	unsigned char bytes[512];	/* the first that were captured */
	size_t known;		/* how many these are */
};

bool read_packet(struct text part, struct packet *packet);
bool network_layer(const struct packet *packet, size_t *at, unsigned int *ethertype);

enum { SENDERS_MOST = 32 };

/* Two addresses, the lower first; none is empty, false is for Python. */
bool conversation(const struct packet *packet, unsigned char *addresses, size_t *size);

/* Numbers written; what follows them is returned (numbers.c). */
char *put_decimal(char *out, u64 number);
char *put_hex(char *out, u64 number, unsigned int fewest);

/* JSON, as far as it is needed (json.c) */
const char *read_number(const char *at, const char *end, u64 *number);
const char *skip_value(const char *at, const char *end, int depth);
const char *read_member(const char *at, const char *end, int depth, struct text *key,
			struct text *value);

/* Texts that come up again, numbered from 0 as they come (memo.c). */
struct memo;
struct memo *memo_new(u64 seed);
void memo_free(struct memo *memo);
void memo_clear(struct memo *memo);
long memo_count(const struct memo *memo);
size_t memo_size(const struct memo *memo);
long memo_number(struct memo *memo, struct text text);
const char *memo_text(const struct memo *memo, long number, size_t *size);
void memo_refuse(struct memo *memo, long number);
bool memo_refused(const struct memo *memo, long number);
long memo_find(const struct memo *memo, struct text text);
bool memo_word(struct memo *memo, long number, const char *first_at, size_t first_size,
	       const char *second_at, size_t second_size);
struct text memo_words(const struct memo *memo, long number, int which);

#endif
