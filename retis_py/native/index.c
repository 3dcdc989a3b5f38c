/* First pass of a sort (retis_py/process/index_rows.py): which packet each line is about. */
#include "lines.h"
#include "rows.h"

#define IDS TEXT(",\"skb-tracking\":")
#define OVS TEXT(",\"ovs\":{\"event_type\":\"")
#define QUEUE_ID TEXT("\"queue_id\":")

/* In the order of KINDS in retis_py/process/fact_rows.py. */
static const struct text joining[] = {
	{ "upcall", 6 },	 { "upcall_enqueue", 14 }, { "upcall_return", 13 },
	{ "recv_upcall", 11 },	 { "flow_operation", 14 }, { "action_execute", 14 },
};

/* What of the section ovs series are joined by. */
static const struct text fact_fields[FACT_FIELDS] = {
	[FACT_CPU] = { "cpu", 3 },
	[FACT_UPCALL_CPU] = { "upcall_cpu", 10 },
	[FACT_QUEUE_ID] = { "queue_id", 8 },
	[FACT_UPCALL_TS] = { "upcall_ts", 9 },
};

struct ovs {
	unsigned int kind;
	bool has[FACT_FIELDS];
	u64 fields[FACT_FIELDS];
};

static unsigned int kind_of(struct text value)
{
	struct text name = { value.at + 1, value.size - 2 };
	unsigned int kind = 0;

	if (value.size < 2 || *value.at != '"')
		return NO_KIND;
	while (kind < NO_KIND && !is_text(joining[kind], name))
		kind++;
	return kind;
}

static bool read_ovs_field(struct text key, struct text value, struct ovs *ovs)
{
	const char *end = value.at + value.size;
	int field = 0;

	while (field < FACT_FIELDS && !is_text(fact_fields[field], key))
		field++;
	if (field == FACT_FIELDS)
		return true;
	if (ovs->has[field] || read_number(value.at, end, &ovs->fields[field]) != end)
		return false;
	ovs->has[field] = true;
	return field == FACT_UPCALL_TS || ovs->fields[field] <= UINT32_MAX;
}

/* Read an object that was skipped before, so that its members are sound. */
static bool read_ovs(struct text object, struct ovs *ovs)
{
	const char *at = object.at, *end = at + object.size;
	struct text key, value;

	memset(ovs, 0, sizeof(*ovs));
	ovs->kind = NO_KIND;
	if (*at != '{')
		return false;
	while (*at != '}' && end - at > 2) {
		at = read_member(at + 1, end, 1, &key, &value);
		if (!at || !read_ovs_field(key, value, ovs))
			return false;
		if (!is_text(key, TEXT("event_type")))
			continue;
		if (ovs->kind != NO_KIND)
			return false;
		ovs->kind = kind_of(value);
	}
	return ovs->kind != NO_KIND;
}

/*
 * Read all that follows skb-tracking, up to the last brace. False where Python has to: it is not
 * the JSON that we read, it has a section twice, or one that Python wants to see.
 */
static bool read_tail(const char *at, const char *end, struct ovs *ovs)
{
	struct text key, value;
	bool found = false;

	while (at < end) {
		if (*at != ',')
			return false;
		at = read_member(at + 1, end, 0, &key, &value);
		if (!at || is_text(key, TEXT("common")) || is_text(key, TEXT("skb-tracking")) ||
		    is_text(key, TEXT("ovs-detrace")))
			return false;
		if (!is_text(key, TEXT("ovs")))
			continue;
		if (found || !read_ovs(value, ovs))
			return false;
		found = true;
	}
	return found;
}

/* Where the section ovs begins that retis writes. */
static const char *find_ovs(const char *at, const char *end)
{
	for (; (at = find_section(at, end, TEXT(",\"ovs\":"))); at++)
		if (begins(at, end, OVS))
			return at;
	return NULL;
}

/* Packets in the data path: many, and nothing to join by where there is no queue id. */
static bool is_plain(const char *ovs, const char *end)
{
	const char *type = ovs + OVS.size;

	if (!begins(type, end, TEXT("flow_lookup")) && !begins(type, end, TEXT("action_execute")))
		return false;
	for (const char *at = type; (at = find_byte(at, end, '"')); at++)
		if (begins(at, end, QUEUE_ID))
			return false;
	return true;
}

static void put_fact(u64 *row, const struct ovs *ovs, const u64 *place)
{
	bool enqueue = ovs->kind == UPCALL_ENQUEUE && ovs->has[FACT_UPCALL_TS];
	u64 what = ovs->kind;

	for (int field = 0; field < FACT_FIELDS; field++)
		what |= (u64)ovs->has[field] << (FACT_FIELD_BIT + field);
	/* A message may be received before its enqueueing was seen: that counts from the upcall. */
	row[FACT_COUNTS] = enqueue ? ovs->fields[FACT_UPCALL_TS] : place[ROW_TIME];
	row[FACT_RANK] = enqueue;
	memcpy(row + FACT_PLACE, place + ROW_TIME, 3 * sizeof(*row));
	row[FACT_KEY] = place[0];
	row[FACT_KEY + 1] = place[1];
	row[FACT_WHAT] = what | FACT_HAS_KEY | ovs->fields[FACT_CPU] << 32;
	row[FACT_TS] = ovs->fields[FACT_UPCALL_TS];
	row[FACT_NUMBERS] = ovs->fields[FACT_UPCALL_CPU] << 32 | ovs->fields[FACT_QUEUE_ID];
}

/* Whether what is before the packet's id was found to be whole sections, or is to be looked at. */
static bool is_head(struct index *index, const char *start, const char *end)
{
	long number = memo_number(index->heads, (struct text){ start, end - start });

	return number >= 0 && !memo_refused(index->heads, number);
}

/* Leave a line to Python. */
static void put_look(struct index *index, const char *line, const char *end, size_t ids)
{
	struct look *look = &index->looks[index->look_count++];

	*look = (struct look){ line - index->piece, ids, end - line };
}

/* Take an event of a packet, whose id ends before rest. */
static void put_event(struct index *index, const u64 *row, const char *rest, const char *end)
{
	const char *ovs_at = find_ovs(rest, end);
	struct ovs ovs;

	if (ovs_at && !is_plain(ovs_at, end)) {
		const char *line = index->piece + row[ROW_OFFSET];

		if (!read_tail(rest, end - 1, &ovs)) {
			put_look(index, line, end, row[ROW_EXTENT] >> IDS_SHIFT);
			return;
		}
		put_fact(index->facts + FACT * index->fact_count++, &ovs, row);
	}
	memcpy(index->rows + ROW * index->row_count++, row, ROW * sizeof(*row));
}

/* Returns false if the piece is in another layout. */
static bool index_line(struct index *index, const char *line, const char *end)
{
	const char *start, *ids_at, *rest;
	u64 row[ROW];
	struct ids ids;
	struct cut cut;

	if (end - line > LONGEST || !cut_head(line, end, &cut))
		return false;
	start = cut.parts[PART_HEAD].at;
	ids_at = find_section(start, end, IDS);
	if (!ids_at) {
		put_look(index, line, end, 0);
		return true;
	}
	rest = read_ids(ids_at, end, &ids);
	if (!rest || !is_head(index, start, ids_at))
		return false;
	row[0] = ids.time;
	row[1] = ids.head;
	row[ROW_TIME] = cut.time;
	row[ROW_OFFSET] = line - index->piece;
	row[ROW_EXTENT] = (u64)(ids_at - line) << IDS_SHIFT | (u64)(end - line);
	put_event(index, row, rest, end);
	return true;
}

/* Look at a piece, whole lines. Returns how many they are, or ANOTHER_LAYOUT. */
long index_piece(struct index *index)
{
	const char *at = index->piece, *last = at + index->size, *end;
	size_t most = index->most;
	long lines = 0;

	index->row_count = index->fact_count = index->look_count = 0;
	for (; at < last; at = end + 1, lines++) {
		end = find_byte(at, last, '\n');
		if (!end || !most-- || !index_line(index, at, end))
			return ANOTHER_LAYOUT;
	}
	return lines;
}
