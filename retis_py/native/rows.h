/* Rows of numbers, sorted as such. */
#ifndef RETIS_ROWS_H
#define RETIS_ROWS_H

#include "lines.h"

/*
 * An event: what its series is ordered by, and its place. First its packet's id (time, address),
 * then the time and offset of the first event of its series.
 */
enum { ROW_TIME = 2, ROW_OFFSET, ROW_EXTENT, ROW };

/* Extent: the line's size, above it where skb-tracking begins or 0; and whether it has a packet. */
#define SIZE_MASK 0xffffffffull
#define IDS_SHIFT 32
#define LONGEST INT32_MAX	/* bytes of a line: longer ones are Python's */
#define ALONE (1ull << 63)

/* An event that may join series; see retis_py/process/facts.py. */
enum {
	FACT_COUNTS,
	FACT_RANK,
	FACT_PLACE,
	FACT_KEY = 5,
	FACT_WHAT = 7,		/* kind, whether it has a key and which fields, its CPU above */
	FACT_TS,
	FACT_NUMBERS,		/* upcall_cpu, queue_id */
	FACT
};

enum { UPCALL, UPCALL_ENQUEUE, UPCALL_RETURN, NO_KIND = 6 };

#define FACT_KIND 0x7full
#define FACT_HAS_KEY 0x80ull
#define FACT_FIELD_BIT 8	/* of the first field */

enum { FACT_CPU, FACT_UPCALL_CPU, FACT_QUEUE_ID, FACT_UPCALL_TS, FACT_FIELDS };

/* A line that Python has to look at. */
struct look {
	u64 offset, ids, size;
};

/* What to look at and what was found, in arrays that have room for most lines. */
struct index {
	const char *piece;
	size_t size;
	struct memo *heads;
	size_t most;
	u64 *rows, *facts;
	struct look *looks;
	size_t row_count, fact_count, look_count;
};

#endif
