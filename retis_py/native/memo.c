/* Texts that come up again: each is kept once, and has a number. */
#include <stdlib.h>

#include "lines.h"

#define FEWEST_SLOTS 1024	/* a power of two */
#define EMPTY UINT32_MAX

int interface(void)
{
	return INTERFACE;
}

struct entry {
	u64 hash;
	size_t at, size;	/* in the store */
	size_t words[2], word_sizes[2];	/* in the store too: what the text is worded as */
	bool refused;
};

struct memo {
	u64 seed;		/* unknown to whoever writes files, so that hashes do not collide */
	u32 *slots;		/* numbers of entries; twice as many as entries at least */
	size_t slot_count;
	struct entry *entries;
	size_t count, room;
	char *store;
	size_t stored, store_room;
};

static u64 mixed(u64 a, u64 b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (u64)product ^ (u64)(product >> 64);
}

static u64 load(const char *at)
{
	u64 word;

	memcpy(&word, at, sizeof(word));
	return word;
}

/* After wyhash: words in pairs, multiplied. */
static u64 hash_of(const struct memo *memo, struct text text)
{
	u64 hash = memo->seed ^ text.size, other = ~memo->seed, last[2] = { 0, 0 };

	for (; text.size > 32; text.at += 32, text.size -= 32) {
		hash = mixed(load(text.at) ^ 0xa0761d6478bd642full, load(text.at + 8) ^ hash);
		other = mixed(load(text.at + 16) ^ 0x589965cc75374cc3ull, load(text.at + 24) ^ other);
	}
	hash ^= other;
	for (; text.size > 16; text.at += 16, text.size -= 16)
		hash = mixed(load(text.at) ^ 0xa0761d6478bd642full, load(text.at + 8) ^ hash);
	memcpy(last, text.at, text.size);
	hash = mixed(last[0] ^ 0xe7037ed1a0b428dbull, last[1] ^ hash);
	return mixed(hash ^ memo->seed, 0x8ebc6af09c88c6e3ull);
}

struct memo *memo_new(u64 seed)
{
	struct memo *memo = calloc(1, sizeof(*memo));

	if (memo)
		memo->seed = seed;
	return memo;
}

void memo_free(struct memo *memo)
{
	if (!memo)
		return;
	free(memo->slots);
	free(memo->entries);
	free(memo->store);
	free(memo);
}

void memo_clear(struct memo *memo)
{
	memo->count = memo->stored = 0;
	if (memo->slots)
		memset(memo->slots, 0xff, memo->slot_count * sizeof(*memo->slots));
}

long memo_count(const struct memo *memo)
{
	return memo->count;
}

/* Have room for one more entry, and slots for it. */
static bool grow_entries(struct memo *memo)
{
	size_t room = memo->room ? 2 * memo->room : FEWEST_SLOTS / 2;
	struct entry *entries = realloc(memo->entries, room * sizeof(*entries));
	u32 *slots;

	if (!entries)
		return false;
	memo->entries = entries;
	slots = realloc(memo->slots, 2 * room * sizeof(*slots));
	if (!slots)
		return false;
	memo->slots = slots;
	memo->slot_count = 2 * room;
	memo->room = room;
	memset(slots, 0xff, memo->slot_count * sizeof(*slots));
	for (size_t i = 0; i < memo->count; i++) {
		size_t slot = memo->entries[i].hash & (memo->slot_count - 1);

		while (slots[slot] != EMPTY)
			slot = (slot + 1) & (memo->slot_count - 1);
		slots[slot] = i;
	}
	return true;
}

static bool grow_store(struct memo *memo, size_t size)
{
	size_t room = 2 * (memo->stored + size) + 4096;
	char *store;

	if (memo->stored + size <= memo->store_room)
		return true;
	store = realloc(memo->store, room);
	if (!store)
		return false;
	memo->store = store;
	memo->store_room = room;
	return true;
}

static bool is_entry(const struct memo *memo, const struct entry *entry, u64 hash, struct text text)
{
	return entry->hash == hash && entry->size == text.size &&
	       !memcmp(memo->store + entry->at, text.at, text.size);
}

/* The slot that a text is in, or would be in. */
static size_t slot_of(const struct memo *memo, struct text text, u64 hash)
{
	size_t slot = hash & (memo->slot_count - 1);

	while (memo->slots[slot] != EMPTY &&
	       !is_entry(memo, &memo->entries[memo->slots[slot]], hash, text))
		slot = (slot + 1) & (memo->slot_count - 1);
	return slot;
}

/* The number of a text, NOT_KNOWN if it is not known. */
long memo_find(const struct memo *memo, struct text text)
{
	size_t slot;

	if (!memo->count)
		return NOT_KNOWN;
	slot = slot_of(memo, text, hash_of(memo, text));
	return memo->slots[slot] == EMPTY ? NOT_KNOWN : (long)memo->slots[slot];
}

static size_t store(struct memo *memo, struct text text)
{
	size_t at = memo->stored;

	if (text.size)
		memcpy(memo->store + at, text.at, text.size);
	memo->stored += text.size;
	return at;
}

/* The number of a text; a new one where it is not known yet. NO_MEMORY if that cannot be. */
long memo_number(struct memo *memo, struct text text)
{
	u64 hash = hash_of(memo, text);
	struct entry *entry;
	size_t slot;

	if ((memo->count == memo->room && !grow_entries(memo)) || !grow_store(memo, text.size))
		return NO_MEMORY;
	slot = slot_of(memo, text, hash);
	if (memo->slots[slot] != EMPTY)
		return memo->slots[slot];
	entry = &memo->entries[memo->count];
	*entry = (struct entry){ .hash = hash, .size = text.size };
	entry->at = store(memo, text);
	memo->slots[slot] = memo->count;
	return memo->count++;
}

/* Bytes that are kept. */
size_t memo_size(const struct memo *memo)
{
	return memo->stored;
}

const char *memo_text(const struct memo *memo, long number, size_t *size)
{
	*size = memo->entries[number].size;
	return memo->store + memo->entries[number].at;
}

/* Of a text that turned out to be no part of an event. */
void memo_refuse(struct memo *memo, long number)
{
	memo->entries[number].refused = true;
}

bool memo_refused(const struct memo *memo, long number)
{
	return memo->entries[number].refused;
}

/* Keep what a text is worded as, in two parts. */
bool memo_word(struct memo *memo, long number, const char *first_at, size_t first_size,
	       const char *second_at, size_t second_size)
{
	struct entry *entry = &memo->entries[number];
	struct text first = { first_at, first_size }, second = { second_at, second_size };

	if (!grow_store(memo, first.size + second.size))
		return false;
	entry->word_sizes[0] = first.size;
	entry->words[0] = store(memo, first);
	entry->word_sizes[1] = second.size;
	entry->words[1] = store(memo, second);
	return true;
}

struct text memo_words(const struct memo *memo, long number, int which)
{
	const struct entry *entry = &memo->entries[number];

	return (struct text){ memo->store + entry->words[which], entry->word_sizes[which] };
}
