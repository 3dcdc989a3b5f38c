"""A program that makes events as fast as a CPU can, for measuring what comes behind it.

Its records are copies of one that is given, with their times: the kernel's ring, its lock and its
clock are real, and nothing else is done for an event. Each CPU that runs it loops in the kernel
(BPF_PROG_TEST_RUN), so that no system call is made for an event.
"""

import ctypes
import os
import struct
import time
from collections.abc import Sequence
from multiprocessing import Process
from multiprocessing.sharedctypes import Synchronized

from retis_py.collect.compiled import Compiled
from retis_py.collect.compiler import Compiler
from retis_py.collect.loader import Loader, ProgramType
from retis_py.collect.program import ring_names
from retis_py.kernel import libbpf

_TURNS = 1000  # events in a run of the program
_ARGUMENTS = 12  # MAX_BPF_FUNC_ARGS

_TEXT = """
#include <linux/types.h>
#include <bcc/helpers.h>
struct record {{ u64 timestamp; u8 rest[{size} - 8]; }};
struct counts {{ u64 sent, lost; }};
BPF_TABLE("percpu_array", u32, struct record, records, 1);
BPF_TABLE("percpu_array", u32, struct counts, counted, 1);
{rings}
static long output(void *data)
{{
	switch (bpf_get_smp_processor_id() & {mask}) {{
{cases}	}}
	return events.ringbuf_output(data, {size}, BPF_RB_NO_WAKEUP);
}}
int produce(struct bpf_raw_tracepoint_args *ctx)
{{
	u32 zero = 0;
	struct record *r = records.lookup(&zero);
	struct counts *n = counted.lookup(&zero);
	void *data = r;

	if (!r || !n)
		return 1;
	#pragma clang loop unroll(disable)
	for (int i = 0; i < {turns}; i++) {{
		r->timestamp = bpf_ktime_get_ns();
		n->sent++;
		if (output(data))
			n->lost++;
	}}
	return 0;
}}
"""


class _TestRunOpts(ctypes.Structure):
    """``struct bpf_test_run_opts`` of libbpf."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data", ctypes.c_void_p * 2),
        ("data_size", ctypes.c_uint32 * 2),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("rest", ctypes.c_uint32 * 6),
    )


def compile_producer(record_size: int, rings: int) -> Compiled:
    """Compile the program for records of that size in bytes, a multiple of 8."""
    names = ring_names(rings)
    send = f"ringbuf_output(data, {record_size}, BPF_RB_NO_WAKEUP);"
    text = _TEXT.format(
        size=record_size,
        mask=rings - 1,
        turns=_TURNS,
        rings="\n".join(f"BPF_RINGBUF_OUTPUT({name}, 8);" for name in names),
        cases="".join(
            f"\tcase {n}:\n\t\treturn {name}.{send}\n" for n, name in enumerate(names) if n
        ),
    )
    with Compiler() as compiler:
        return compiler.compile(text, ["produce"])


class Producer:
    """The program, loaded with ``loader``; ``cpus`` is how many the kernel has data for."""

    def __init__(self, loader: Loader, record: bytes, cpus: int) -> None:
        self._cpus = cpus
        self._program = loader.load("produce", ProgramType.RAW_TRACEPOINT)
        self._counted = loader.maps["counted"]
        self._record_size = len(record)
        loader.maps["records"].update(struct.pack("=I", 0), record * cpus)

    def run(self, cpu: int, seconds: float, rate: float | None, begin: Synchronized) -> None:  # type: ignore[type-arg]
        """Make events on a CPU, as many as it can or ``rate`` a second; to be its own process.

        Begins when ``begin`` is set.
        """
        os.sched_setaffinity(0, {cpu})
        arguments = (ctypes.c_uint64 * _ARGUMENTS)()
        options = _TestRunOpts(
            sz=ctypes.sizeof(_TestRunOpts),
            ctx_in=ctypes.addressof(arguments),
            ctx_size_in=ctypes.sizeof(arguments),
        )
        run, reference = libbpf.library().bpf_prog_test_run_opts, ctypes.byref(options)
        while not begin.value:
            time.sleep(0.001)
        start = time.perf_counter()
        made = 0
        while (now := time.perf_counter()) - start < seconds:
            if rate is not None and made > rate * (now - start):
                continue  # it keeps its CPU, as real work would
            if run(self._program, reference):
                raise RuntimeError("the kernel does not run the program")
            made += _TURNS

    def start(
        self,
        cpus: Sequence[int],
        seconds: float,
        rate: float | None,
        begin: Synchronized,  # type: ignore[type-arg]
    ) -> list[Process]:
        """Start a process on each of these CPUs; ``rate`` is that of all together."""
        each = None if rate is None else rate / len(cpus)
        started = [Process(target=self.run, args=(cpu, seconds, each, begin)) for cpu in cpus]
        for process in started:
            process.start()
        return started

    @property
    def counts(self) -> tuple[int, int]:
        """How many events were sent in all, and how many of them did not fit."""
        [(_, values)] = self._counted.items(16 * self._cpus)
        numbers = struct.unpack(f"={2 * self._cpus}Q", values)
        return sum(numbers[::2]), sum(numbers[1::2])
