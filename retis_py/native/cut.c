/* A line cut where its sections begin, as retis_py/events/layout.py tells. */
#include "lines.h"

#define BEGIN TEXT("{\"common\":{\"timestamp\":")
#define MOST_DIGITS 19		/* more may be no u64 */

struct section {
	struct text name;	/* with all from the comma to the brace, which is not part of it */
	enum part part;
};

#define SECTION(name, part) { { ",\"" name "\":", sizeof(",\"" name "\":") - 1 }, part }

static const struct section sections[] = {
	SECTION("skb-tracking", PART_IDS),
	SECTION("packet", PART_PACKET),
	SECTION("skb", PART_SKB),
	SECTION("netns", PART_DEVICE),
	SECTION("dev", PART_DEVICE),
	SECTION("ct", PART_OTHERS),
	SECTION("ovs", PART_OTHERS),
	SECTION("skb-drop", PART_DROP),
	SECTION("nft", PART_OTHERS),
	SECTION("tracking", PART_IDS),
	SECTION("ovs-detrace", PART_OTHERS),
	SECTION("startup", PART_OTHERS),
};

/* Whether a name stands before a brace, in a line that begins at start. */
static bool is_named(const char *start, const char *brace, struct text name)
{
	size_t end = name.size - 3;	/* of the name itself: ":  follow */

	return (size_t)(brace - start) >= name.size && brace[-3] == name.at[end] &&
	       brace[-(long)name.size] == ',' && !memcmp(brace - name.size, name.at, name.size);
}

/*
 * Where the next section of a name, given as ,"NAME": begins with an object, behind at. A name
 * cannot be in a string, where its quotes would be escaped.
 */
const char *find_section(const char *at, const char *end, struct text name)
{
	const char *start = at;

	while ((at = find_byte(at, end, '{'))) {
		if (is_named(start, at, name))
			return at - name.size;
		at++;
	}
	return NULL;
}

static const struct section *section_at(const char *start, const char *brace)
{
	if (brace - start < 3 || brace[-1] != ':' || brace[-2] != '"')
		return NULL;
	for (size_t i = 0; i < sizeof(sections) / sizeof(*sections); i++)
		if (is_named(start, brace, sections[i].name))
			return &sections[i];
	return NULL;
}

/* Read the time; what is behind it, but for the last brace, becomes the first part. */
bool cut_head(const char *line, const char *end, struct cut *cut)
{
	const char *digits = line + BEGIN.size, *rest;

	if (!begins(line, end, BEGIN) || end[-1] != '}')
		return false;
	end--;
	rest = read_number(digits, end, &cut->time);
	if (!rest || rest == end || (*rest != ',' && *rest != '}'))
		return false;
	if (!cut->time || rest - digits > MOST_DIGITS)
		return false;
	cut->digits = (struct text){ digits, rest - digits };
	cut->parts[PART_HEAD] = (struct text){ rest, end - rest };
	return true;
}

/* Cut the whole line. Parts that are not there are empty; each is in its place, or it is false. */
bool cut_event(const char *line, const char *end, struct cut *cut)
{
	const struct section *section;
	const char *start, *brace;
	enum part part = PART_HEAD;

	if (!cut_head(line, end, cut))
		return false;
	end--;
	start = brace = cut->parts[PART_HEAD].at;
	memset(&cut->parts[PART_IDS], 0, sizeof(cut->parts) - sizeof(*cut->parts));
	/* What is in the last part is found when it is decoded. */
	for (; part < PART_OTHERS && (brace = find_byte(brace, end, '{')); brace++) {
		section = section_at(start, brace);
		if (!section || section->part == part)
			continue;
		if (section->part < part)
			return false;
		cut->parts[part].size = brace - section->name.size - cut->parts[part].at;
		part = section->part;
		cut->parts[part].at = brace - section->name.size;
	}
	cut->parts[part].size = end - cut->parts[part].at;
	return cut->parts[PART_HEAD].size > 0;
}

static const char *read_field(const char *at, const char *end, struct text name, u64 *number)
{
	return at && begins(at, end, name) ? read_number(at + name.size, end, number) : NULL;
}

/* Section skb-tracking with all its fields and no others. Returns what follows. */
const char *read_ids(const char *at, const char *end, struct ids *ids)
{
	at = read_field(at, end, TEXT(",\"skb-tracking\":{\"orig_head\":"), &ids->head);
	at = read_field(at, end, TEXT(",\"timestamp\":"), &ids->time);
	at = read_field(at, end, TEXT(",\"skb\":"), &ids->skb);
	return at && at < end && *at == '}' ? at + 1 : NULL;
}
