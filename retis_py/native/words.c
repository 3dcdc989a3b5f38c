/* Lines as text (retis_py/process/line_text.py), each part's of which is known. */
#include "lines.h"

#define NO_PART -1
#define READ_IDS -2		/* the packet's id is worded here, for each packet has its own */
#define MOST_IDS 64		/* bytes of " #ID (skb ADDRESS)" */

struct worded_line {
	struct ids ids;
	struct text digits;
	int numbers[PARTS];
};

struct wording {
	const char *piece;
	size_t size;
	struct memo *memos[PARTS];
	struct text ids_begin, ids_end;	/* colours */
	struct text line_end;
	size_t most;
	struct worded_line *lines;
	size_t count;
	char *out;
};

/* Number the parts of a line. Returns false if it is in another layout. */
static bool read_line(struct wording *w, const char *line, const char *end)
{
	struct worded_line *worded = &w->lines[w->count];
	struct cut cut;

	if (!cut_event(line, end, &cut))
		return false;
	worded->digits = cut.digits;
	for (int part = 0; part < PARTS; part++) {
		struct text text = cut.parts[part];
		long number = NO_PART;

		if (part == PART_IDS && text.size &&
		    read_ids(text.at, text.at + text.size, &worded->ids) == text.at + text.size) {
			number = READ_IDS;
		} else if (text.size) {
			number = memo_number(w->memos[part], text);
			if (number < 0 || memo_refused(w->memos[part], number))
				return false;
		}
		worded->numbers[part] = number;
	}
	w->count++;
	return true;
}

/* Look at a piece, whole lines. Returns how many they are, or ANOTHER_LAYOUT. */
long words_read(struct wording *w)
{
	const char *at = w->piece, *last = at + w->size, *end;

	for (w->count = 0; at < last; at = end + 1) {
		end = find_byte(at, last, '\n');
		if (!end || w->count == w->most || !read_line(w, at, end))
			return ANOTHER_LAYOUT;
	}
	return w->count;
}

static struct text words_of(const struct wording *w, const struct worded_line *line, int part,
			    int which)
{
	if (line->numbers[part] < 0)
		return (struct text){ NULL, 0 };
	return memo_words(w->memos[part], line->numbers[part], which);
}

/* " #ID (skb ADDRESS)", the id being one number of 128 bits. */
static char *put_ids(const struct wording *w, char *out, struct ids ids)
{
	*out++ = ' ';
	out = put(out, w->ids_begin);
	*out++ = '#';
	if (ids.time)
		out = put_hex(out, ids.time, 1);
	out = put_hex(out, ids.head, ids.time ? 16 : 1);
	out = put(out, TEXT(" (skb "));
	out = put_hex(out, ids.skb, 1);
	*out++ = ')';
	return put(out, w->ids_end);
}

static char *put_line(const struct wording *w, char *out, const struct worded_line *line)
{
	static const enum part further[] = { PART_PACKET, PART_DEVICE, PART_SKB, PART_OTHERS };

	out = put(out, line->digits);
	out = put(out, words_of(w, line, PART_HEAD, 0));
	if (line->numbers[PART_IDS] == READ_IDS)
		out = put_ids(w, out, line->ids);
	else
		out = put(out, words_of(w, line, PART_IDS, 0));
	out = put(out, words_of(w, line, PART_DROP, 0));
	out = put(out, words_of(w, line, PART_HEAD, 1));
	for (size_t i = 0; i < sizeof(further) / sizeof(*further); i++)
		out = put(out, words_of(w, line, further[i], 0));
	return put(out, w->line_end);
}

/* Bytes that all lines take at most. */
size_t words_room(const struct wording *w)
{
	size_t size = 0;

	for (size_t i = 0; i < w->count; i++) {
		const struct worded_line *line = &w->lines[i];

		size += line->digits.size + w->line_end.size + MOST_IDS;
		size += w->ids_begin.size + w->ids_end.size;
		for (int part = 0; part < PARTS; part++)
			size += words_of(w, line, part, 0).size + words_of(w, line, part, 1).size;
	}
	return size;
}

/* Write the lines that were read, whose parts are all worded. Returns how many bytes. */
size_t words_write(const struct wording *w)
{
	char *out = w->out;

	for (size_t i = 0; i < w->count; i++)
		out = put_line(w, out, &w->lines[i]);
	return out - w->out;
}
