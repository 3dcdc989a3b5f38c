/* Arguments of USDT probes. Where each is stands in the note of the program that is probed; loading
 * ours for the probe puts it in as a constant, UsdtArgument.number of retis_py/kernel/usdt_arguments.py:
 *
 *	bits 0-1	kind, 0: there is no such argument, or none that can be read
 *	bits 2-3	size: 1, 2, 4, 8 bytes
 *	bit 4		signed
 *	bits 5-10	register, or memory's base: a word of struct pt_regs
 *	bits 11-16	memory's index, likewise
 *	bits 17-18	what the index counts in: 1, 2, 4, 8 bytes
 *	bits 32-63	constant, or memory's offset: signed
 */

enum usdt_kind {
	USDT_NONE,
	USDT_CONSTANT,
	USDT_REGISTER,
	USDT_MEMORY,
};

#define USDT_NO_INDEX 63

static u64 usdt_register(void *ctx, u32 word)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), ctx + word * sizeof(u64));
	return value;
}

/* The argument, extended to 64 bits by its sign; false where there is none, or its memory is not
 * there.
 */
static bool usdt_argument(void *ctx, u64 place, u64 *value)
{
	u32 kind = place & 3, size = 1 << (place >> 2 & 3), unused = 64 - 8 * size;
	u32 base = place >> 5 & 63, index = place >> 11 & 63, scale = place >> 17 & 3;
	s64 low = (s64)place >> 32;
	u64 read = 0;

	if (kind == USDT_CONSTANT) {
		read = low;
	} else if (kind == USDT_REGISTER) {
		read = usdt_register(ctx, base);
	} else if (kind == USDT_MEMORY) {
		u64 address = usdt_register(ctx, base) + low;

		if (index != USDT_NO_INDEX)
			address += usdt_register(ctx, index) << scale;
		if (bpf_probe_read_user(&read, size, (void *)address))
			return false;
	} else {
		return false;
	}
	read <<= unused;
	*value = place & 16 ? (u64)((s64)read >> unused) : read >> unused;
	return true;
}
