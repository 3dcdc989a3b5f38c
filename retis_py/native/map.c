/* Files in memory, where C can look at them; Python hides the address of those that it maps. */
#include <sys/mman.h>

#include "lines.h"

void *map_new(int descriptor, size_t size)
{
	void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, descriptor, 0);

	return map == MAP_FAILED ? NULL : map;
}

/* Give the pages back, or all would count as ours; they come back when they are looked at. */
void map_forget(void *map, size_t size)
{
	madvise(map, size, MADV_DONTNEED);
}

void map_free(void *map, size_t size)
{
	munmap(map, size);
}
