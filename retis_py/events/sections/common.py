"""Section ``common``: when and where the event happened. Every event has it."""

from typing import TYPE_CHECKING

from retis_py.events.escape import escape
from retis_py.events.sections.base import I32, U32, U64, Data, Section

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat


class Task(Data):
    """The task that ran on the CPU (``current``), whoever the packet belongs to."""

    pid: I32  # thread: task_struct.pid
    tgid: I32  # process: task_struct.tgid
    comm: str  # task_struct.comm, at most 15 bytes


class Common(Section):
    """Time, CPU and task."""

    timestamp: U64  # ns, CLOCK_MONOTONIC (bpf_ktime_get_ns)
    smp_id: U32 | None = None  # bpf_get_smp_processor_id
    task: Task | None = None

    def text(self, fmt: "TextFormat") -> str:
        """``TIMESTAMP (CPU) [COMM] PID/TGID``, the PID only where it is not the TGID."""
        text = fmt.time(self.timestamp) if fmt.utc else str(self.timestamp)
        if self.smp_id is not None:
            text = f"{text} ({self.smp_id})"
        task = self.task
        if task is None:
            return text
        if task.pid == task.tgid:
            return f"{text} [{escape(task.comm)}] {task.tgid}"
        return f"{text} [{escape(task.comm)}] {task.pid}/{task.tgid}"
