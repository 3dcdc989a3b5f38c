/* Second pass of a sort: the lines of a sorted file (retis_py/process/series_lines.py). */
#include "rows.h"

#define FILE_SHIFT 48		/* of an offset: the number of the file is above */
#define OFFSET_MASK ((1ull << FILE_SHIFT) - 1)
#define IDS TEXT(",\"skb-tracking\":")
#define TRACKING TEXT(",\"tracking\":{\"skb\":")
#define FLOW_LOOKUP TEXT("\"flow_lookup\"")
#define MOST_INDEX 32		/* bytes of "idx":N}, */

enum { ALL_WRITTEN, MORE_ROOM, FOR_PYTHON };

struct writing {
	const struct text *maps;
	size_t map_count;
	bool has_flows;		/* which Python puts into lines of flow_lookup */
	const u64 *rows;
	size_t row_count;
	size_t done;		/* rows written */
	char *out;
	size_t room, size;	/* bytes */
};

/* The line at a place; false where it is not in the file. */
static bool line_at(const struct writing *w, const u64 *row, struct text *line, size_t *ids)
{
	u64 file = row[ROW_OFFSET] >> FILE_SHIFT, offset = row[ROW_OFFSET] & OFFSET_MASK;

	line->size = row[ROW_EXTENT] & SIZE_MASK;
	*ids = (row[ROW_EXTENT] & ~ALONE) >> IDS_SHIFT;
	if (file >= w->map_count || offset > w->maps[file].size ||
	    line->size > w->maps[file].size - offset || *ids > line->size)
		return false;
	line->at = w->maps[file].at + offset;
	return true;
}

static bool has_flow_lookup(struct text line)
{
	const char *end = line.at + line.size;

	for (const char *at = line.at; (at = find_byte(at, end, '"')); at++)
		if (begins(at, end, FLOW_LOOKUP))
			return true;
	return false;
}

/* What a line must be for us to write it, given whether it is of a packet. */
static bool is_ours(const struct writing *w, struct text line, size_t ids, bool alone)
{
	if (w->has_flows && has_flow_lookup(line))
		return false;
	return alone || (ids && begins(line.at + ids, line.at + line.size, IDS));
}

/* The object of skb-tracking. */
static bool read_object(struct text line, size_t ids, struct text *object)
{
	const char *start = line.at + ids + IDS.size;
	const char *brace = find_byte(start, line.at + line.size, '}');

	if (!brace)
		return false;
	*object = (struct text){ start, brace + 1 - start };
	return true;
}

/* Rows from the next to be written on that belong to one series. */
static size_t series_rows(const struct writing *w)
{
	const u64 *first = w->rows + w->done * ROW;
	size_t count = 1;

	while (w->done + count < w->row_count &&
	       !memcmp(first, first + count * ROW, 2 * sizeof(*first)))
		count++;
	return count;
}

/* Check all of a series before anything is written: what it is in, and what it takes. */
static int check_series(const struct writing *w, size_t count, struct text *object)
{
	const u64 *row = w->rows + w->done * ROW;
	bool alone = row[ROW_EXTENT] & ALONE;
	struct text line;
	size_t size = 3, ids;

	for (size_t i = 0; i < count; i++, row += ROW) {
		if (!line_at(w, row, &line, &ids) || !is_ours(w, line, ids, alone))
			return FOR_PYTHON;
		if (i == 0 && !alone && !read_object(line, ids, object))
			return FOR_PYTHON;
		size += line.size + TRACKING.size + object->size + MOST_INDEX;
	}
	return size > w->room - w->size ? MORE_ROOM : ALL_WRITTEN;
}

static char *put_event(const struct writing *w, char *out, const u64 *row, size_t index,
		       struct text object)
{
	struct text line;
	size_t ids;

	if (!line_at(w, row, &line, &ids))
		return out;
	if (row[ROW_EXTENT] & ALONE)
		return put(out, line);
	out = put(out, (struct text){ line.at, ids });
	out = put(out, TRACKING);
	out = put(out, object);
	out = put(out, TEXT(",\"idx\":"));
	out = put_decimal(out, index);
	*out++ = '}';
	return put(out, (struct text){ line.at + ids, line.size - ids });
}

/*
 * Write series, a line each; the rows hold them whole. Ends when all are written, or before one
 * that needs more room, or that Python has to write.
 */
int series_write(struct writing *w)
{
	while (w->done < w->row_count) {
		struct text object = { NULL, 0 };
		size_t count = series_rows(w);
		char *out = w->out + w->size;
		int state = check_series(w, count, &object);

		if (state != ALL_WRITTEN)
			return state;
		*out++ = '[';
		for (size_t i = 0; i < count; i++) {
			if (i)
				*out++ = ',';
			out = put_event(w, out, w->rows + (w->done + i) * ROW, i, object);
		}
		w->size = put(out, TEXT("]\n")) - w->out;
		w->done += count;
	}
	return ALL_WRITTEN;
}
