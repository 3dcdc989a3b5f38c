/* JSON, as far as it is needed: no white space, no escapes, ASCII, whole numbers. */
#include <endian.h>

#include "lines.h"

#define DEEPEST 16
#define SAFE_DIGITS 19		/* so many are never too large for a u64 */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Eight digits at once: added up in pairs, fours, and all. */
static bool read_eight(const char *at, u64 *number)
{
	u64 word;

	memcpy(&word, at, sizeof(word));
	word = le64toh(word);
	if ((word & (word + 0x0606060606060606ull) & 0xf0f0f0f0f0f0f0f0ull) != 0x3030303030303030ull)
		return false;
	word -= 0x3030303030303030ull;
	word = (word * 10 + (word >> 8)) & 0x00ff00ff00ff00ffull;
	word = (word * 100 + (word >> 16)) & 0x0000ffff0000ffffull;
	*number = (word * 10000 + (word >> 32)) & 0xffffffffull;
	return true;
}

/* Digits of a u64 without zeros before them. Returns what follows, NULL if there is none. */
const char *read_number(const char *at, const char *end, u64 *number)
{
	const char *start = at, *safe = end - at > SAFE_DIGITS ? at + SAFE_DIGITS : end;
	u64 value = 0, eight;

	for (; safe - at >= 8 && read_eight(at, &eight); at += 8)
		value = value * 100000000 + eight;
	while (at < safe && is_digit(*at))
		value = value * 10 + (*at++ - '0');
	for (; at < end && is_digit(*at); at++) {
		if (value > (UINT64_MAX - (*at - '0')) / 10)
			return NULL;
		value = value * 10 + (*at - '0');
	}
	if (at == start || (*start == '0' && at - start > 1))
		return NULL;
	*number = value;
	return at;
}

/* From behind the first quote to behind the last. */
static const char *skip_string(const char *at, const char *end)
{
	for (; at < end; at++) {
		if (*at == '"')
			return at + 1;
		if (*at == '\\' || *at < ' ' || *at > '~')	/* whether char is signed or not */
			return NULL;
	}
	return NULL;
}

/* "KEY":VALUE. Returns what follows; the key is without its quotes. */
const char *read_member(const char *at, const char *end, int depth, struct text *key,
			struct text *value)
{
	const char *start = at;

	if (at == end || *at != '"')
		return NULL;
	at = skip_string(at + 1, end);
	if (!at || at == end || *at != ':')
		return NULL;
	*key = (struct text){ start + 1, at - start - 2 };
	value->at = at + 1;
	at = skip_value(at + 1, end, depth);
	if (at)
		value->size = at - value->at;
	return at;
}

/* What is between brackets, from behind the first to behind the last. */
static const char *skip_nested(const char *at, const char *end, char close, int depth)
{
	struct text key, value;

	if (depth > DEEPEST)
		return NULL;
	if (at < end && *at == close)
		return at + 1;
	for (;;) {
		at = close == '}' ? read_member(at, end, depth, &key, &value) :
				    skip_value(at, end, depth);
		if (!at || at == end)
			return NULL;
		if (*at == close)
			return at + 1;
		if (*at++ != ',')
			return NULL;
	}
}

/* Returns what follows a value, NULL where there is none of the kind that is looked for here. */
const char *skip_value(const char *at, const char *end, int depth)
{
	static const struct text words[] = { { "true", 4 }, { "false", 5 }, { "null", 4 } };
	u64 number;

	if (at == end)
		return NULL;
	switch (*at) {
	case '"':
		return skip_string(at + 1, end);
	case '{':
		return skip_nested(at + 1, end, '}', depth + 1);
	case '[':
		return skip_nested(at + 1, end, ']', depth + 1);
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (begins(at, end, words[i]))
			return at + words[i].size;
	if (*at == '-')
		at++;
	return read_number(at, end, &number);
}
