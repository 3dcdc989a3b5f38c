/* Numbers written, since sprintf takes longer than all else that is done for a line. */
#include "lines.h"

#define MOST_DIGITS 20

char *put_decimal(char *out, u64 number)
{
	char digits[MOST_DIGITS], *at = digits + MOST_DIGITS;

	do
		*--at = '0' + number % 10;
	while (number /= 10);
	memcpy(out, at, digits + MOST_DIGITS - at);
	return out + (digits + MOST_DIGITS - at);
}

/* With zeros before it up to so many digits. */
char *put_hex(char *out, u64 number, unsigned int fewest)
{
	unsigned int count = 1;

	while (count < 16 && number >> 4 * count)
		count++;
	count = count < fewest ? fewest : count;
	for (unsigned int i = count; i--; number >>= 4)
		out[i] = "0123456789abcdef"[number & 15];
	return out + count;
}
