"""What loadtest/limits reads of the machine: CPU time and memory of processes, and how often a server allocates.

Everything is from /proc and the kernel's counters, so it is for Linux. What cannot be read is left out, with the reason.
"""

import ctypes
import os
import platform
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")

# A way to read how many seconds of CPU something has used since it began.
Clock = Callable[[], float]


def machine() -> dict[str, object]:
    """What the figures of a run belong to."""
    models = (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    cpu = next(models, platform.machine())
    memory = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    load = round(os.getloadavg()[0], 2)
    described = {"cpu": cpu, "cores": os.cpu_count() or 1, "memory_mb": memory // 1024, "kernel": platform.release()}
    return {**described, "load_before": load}


def _stat(pid: int) -> list[str]:
    # The name of the program, in parentheses, may hold anything.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def name_of(pid: int) -> str:
    """The name of the program, or nothing when there is no such process."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def parent_of(pid: int) -> int:
    return int(_stat(pid)[1])


def cpu_of(pid: int) -> float:
    """Seconds of CPU that all threads of a process have used, also those that ended."""
    user, system = _stat(pid)[11:13]
    return (int(user) + int(system)) / TICKS


def cpu_of_family(pid: int) -> float:
    """The same for a process and its children, also those that ended."""
    ticks = sum(map(int, _stat(pid)[11:15]))
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = _stat(int(entry.name))
            except OSError:
                continue
            if int(stat[1]) == pid:
                ticks += int(stat[11]) + int(stat[12])
    return ticks / TICKS


def memory_kb(pid: int, field: str = "VmRSS") -> int:
    return next(int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith(field))


class Uncountable(Exception):
    """Why allocations cannot be counted here."""


def _entry_points(program: str, endings: tuple[str, ...]) -> Iterator[int]:
    """Where in the file of a 64-bit ELF program its functions with these endings begin."""
    file = Path(program).read_bytes()
    if file[:5] != b"\x7fELF\x02":
        raise Uncountable("the program is no 64-bit ELF file")
    segments_at, sections_at = struct.unpack_from("<QQ", file, 32)
    segment_size, segments, section_size, sections = struct.unpack_from("<HHHH", file, 54)
    loaded = []
    for n in range(segments):
        kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", file, segments_at + n * segment_size)
        if kind == 1:
            loaded.append((offset, address, size))
    headers = [struct.unpack_from("<IIQQQQIIQQ", file, sections_at + n * section_size) for n in range(sections)]
    for _, kind, _, _, offset, size, link, _, _, entry_size in headers:
        if kind != 2:  # SHT_SYMTAB
            continue
        names = headers[link][4]
        for at in range(offset, offset + size, entry_size):
            name_at, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", file, at)
            name = file[names + name_at : file.index(b"\0", names + name_at)].decode(errors="replace")
            if name.endswith(endings):
                yield from (value - address + start for start, address, size in loaded if address <= value < address + size)


class Allocations:
    """Counts how often a running Rust program asks for memory, with probes of the kernel at the functions through which every
    Rust allocation goes. C libraries that call malloc themselves (zstd) are not counted. Each hit costs microseconds, so nothing
    else is measured meanwhile. Needs root, a kernel with uprobes, and a program with symbols.

    What the program does by itself is counted too, and what other processes of the same file do."""

    FUNCTIONS = ("__rust_alloc", "__rust_alloc_zeroed", "__rust_realloc")
    _PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}

    def __init__(self, pid: int):
        self._files: list[int] = []
        try:
            kind = int(Path("/sys/bus/event_source/devices/uprobe/type").read_text())
            call = self._PERF_EVENT_OPEN[platform.machine()]
        except (OSError, KeyError):
            raise Uncountable("the kernel has no uprobes that can be counted") from None
        program = os.readlink(f"/proc/{pid}/exe")
        points = list(_entry_points(program, self.FUNCTIONS))
        if not points:
            raise Uncountable("the program has no symbols")
        libc = ctypes.CDLL(None, use_errno=True)
        path = ctypes.create_string_buffer(program.encode())
        for point in points:
            # struct perf_event_attr: type, size, and far behind the path and the place in the file; all else is 0.
            attributes = ctypes.create_string_buffer(128)
            struct.pack_into("<II", attributes, 0, kind, 128)
            struct.pack_into("<QQ", attributes, 56, ctypes.addressof(path), point)
            # By core and not by thread: threads that begin later would not be counted, for probes are not inherited.
            for core in os.sched_getaffinity(0):
                opened = libc.syscall(call, attributes, -1, core, -1, 0)
                if opened < 0:
                    self.close()
                    raise Uncountable(f"the kernel refuses: {os.strerror(ctypes.get_errno())}")
                self._files.append(opened)

    def count(self) -> int:
        return sum(struct.unpack("<Q", os.read(file, 8))[0] for file in self._files)

    def close(self) -> None:
        for file in self._files:
            os.close(file)
        self._files.clear()
