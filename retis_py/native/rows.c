/* Rows of numbers put in order, merged, and grouped into series (retis_py/process/row_sorter.py). */
#include <stdlib.h>

#include "rows.h"

#define KEY 2			/* words of a packet's id at the begin of a row */

static int compare(const u64 *a, const u64 *b, size_t words)
{
	for (size_t i = 0; i < words; i++)
		if (a[i] != b[i])
			return a[i] < b[i] ? -1 : 1;
	return 0;
}

/* Merge two neighbours in order, of which other has room for the first. */
static void merge(u64 *rows, size_t first, size_t count, size_t words, u64 *other)
{
	const u64 *left = other, *left_end = other + first * words;
	const u64 *right = rows + first * words, *end = rows + count * words;

	memcpy(other, rows, first * words * sizeof(*rows));
	while (left < left_end) {
		const u64 **next = right < end && compare(right, left, words) < 0 ? &right : &left;

		for (size_t i = 0; i < words; i++)
			*rows++ = *(*next)++;
	}
}

/* Files are nearly in order: what is in order already is left as it is. */
static void sort(u64 *rows, size_t count, size_t words, u64 *other)
{
	size_t half = count / 2;

	if (count < 2)
		return;
	sort(rows, half, words, other);
	sort(rows + half * words, count - half, words, other);
	if (compare(rows + (half - 1) * words, rows + half * words, words) > 0)
		merge(rows, half, count, words, other);
}

/* Sort rows by all their words. Returns false where memory lacks. */
bool rows_sort(u64 *rows, size_t count, size_t words)
{
	u64 *other = malloc((count / 2 * words + 1) * sizeof(*rows));

	if (!other)
		return false;
	sort(rows, count, words, other);
	free(other);
	return true;
}

/* Add to the offsets of places, which are at a word of each row. */
void rows_move(u64 *rows, size_t count, size_t words, size_t offset, u64 base)
{
	for (size_t i = 0; i < count; i++)
		rows[i * words + offset] += base;
}

/* Rows in order, from next to end. */
struct run {
	const u64 *next, *end;
};

/* Merge up to room rows of the runs; returns how many, 0 at the end. */
size_t rows_merge(struct run *runs, size_t run_count, u64 *out, size_t room, size_t words)
{
	size_t count = 0;

	for (; count < room; count++) {
		struct run *first = NULL;

		for (size_t i = 0; i < run_count; i++)
			if (runs[i].next < runs[i].end &&
			    (!first || compare(runs[i].next, first->next, words) < 0))
				first = &runs[i];
		if (!first)
			break;
		memcpy(out + count * words, first->next, words * sizeof(*out));
		first->next += words;
	}
	return count;
}

/*
 * Make rows in order of packets into rows of series: time and offset of the packet's first event
 * take the place of its id. state is for the next call: the last packet's id, what took its place,
 * and whether there was one.
 */
void rows_group(u64 *rows, size_t count, u64 *state)
{
	for (u64 *row = rows; row < rows + count * ROW; row += ROW) {
		if (!state[2 * KEY] || compare(row, state, KEY)) {
			memcpy(state, row, KEY * sizeof(*row));
			memcpy(state + KEY, row + ROW_TIME, KEY * sizeof(*row));
			state[2 * KEY] = 1;
		}
		memcpy(row, state + KEY, KEY * sizeof(*row));
	}
}

static int compare_keys(const void *a, const void *b)
{
	return compare(a, b, KEY);
}

/* Give packets other ids: those of the sorted pairs of ids, from one to the other. */
void rows_rename(u64 *rows, size_t count, const u64 *pairs, size_t pair_count)
{
	for (u64 *row = rows; row < rows + count * ROW; row += ROW) {
		const u64 *pair = bsearch(row, pairs, pair_count, 2 * KEY * sizeof(*pairs),
					  compare_keys);

		if (pair)
			memcpy(row, pair + KEY, KEY * sizeof(*row));
	}
}

/* How many rows there are before those of the last series, which may go on in the next rows. */
size_t rows_whole(const u64 *rows, size_t count)
{
	const u64 *last = rows + (count - 1) * ROW;

	while (count && !compare(rows + (count - 1) * ROW, last, KEY))
		count--;
	return count;
}

#define SEARCHED 64		/* facts behind an upcall among which its return mostly is */

static bool has(const u64 *fact, unsigned int kind, u64 fields)
{
	u64 needed = fields << FACT_FIELD_BIT;

	return (fact[FACT_WHAT] & FACT_KIND) == kind && (fact[FACT_WHAT] & needed) == needed;
}

static bool of_one_packet(const u64 *fact, const u64 *other)
{
	return fact[FACT_WHAT] & other[FACT_WHAT] & FACT_HAS_KEY &&
	       !compare(fact + FACT_KEY, other + FACT_KEY, KEY);
}

/* The first return of an upcall; NULL if it is not near, or of another packet, which is joined. */
static u64 *return_of(const u64 *upcall, u64 *end)
{
	u64 *fact = (u64 *)upcall + FACT;

	for (int i = 0; i < SEARCHED && fact < end; i++, fact += FACT)
		if (has(fact, UPCALL_RETURN, 1 << FACT_UPCALL_CPU | 1 << FACT_UPCALL_TS) &&
		    fact[FACT_TS] == upcall[FACT_COUNTS] &&
		    fact[FACT_NUMBERS] >> 32 == upcall[FACT_WHAT] >> 32)
			return of_one_packet(fact, upcall) ? fact : NULL;
	return NULL;
}

/*
 * Leave out upcalls and their returns that join nothing, which most are: both are of one packet,
 * and no other fact counts at the time of the upcall, as one would that put a message in a queue.
 * Returns how many of the sorted facts are left.
 */
size_t rows_settle(u64 *facts, size_t count)
{
	u64 *end = facts + count * FACT, *kept = facts;

	/* What is beside the first and the last is not known. */
	for (u64 *fact = facts + FACT; fact + FACT < end; fact += FACT) {
		u64 *back;

		if (!has(fact, UPCALL, 1 << FACT_CPU) || fact[FACT_COUNTS] == fact[-FACT] ||
		    fact[FACT_COUNTS] == fact[FACT])
			continue;
		back = return_of(fact, end);
		if (back)
			fact[FACT_WHAT] = back[FACT_WHAT] = NO_KIND;
	}
	for (u64 *fact = facts; fact < end; fact += FACT) {
		if (fact[FACT_WHAT] == NO_KIND)
			continue;
		memmove(kept, fact, FACT * sizeof(*fact));
		kept += FACT;
	}
	return (kept - facts) / FACT;
}
