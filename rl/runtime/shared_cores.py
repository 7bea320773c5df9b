"""Whether other programs compute on the cores that a run is about to use."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_STAT = Path("/proc/stat")
_SHORTEST_S = 0.5  # the counters tick a hundred times a second
_NOTABLE = 0.25  # of the cores


@dataclass(frozen=True)
class CoreUse:
    """Processor time until a moment, in seconds: of all programs, and of this process's own.

    Taken twice, it says how many cores other programs kept busy in between:

        before = CoreUse.now()
        ...                                     # read the data, start nothing
        if before is not None and (line := before.warning()):
            print(line)                         # 1.9 of 2 cores are taken by other programs: ...

    A program that runs at a lower priority than ours (`nice`) does not count: it gives way.
    """

    at: float
    everyone: float
    own: float
    cores: int

    @classmethod
    def now(cls, stat: Path = _STAT) -> Self | None:
        """The counters of the cores that this process may use; None where the system has none."""
        try:
            lines = [line.split() for line in stat.read_text(encoding="ascii").splitlines()]
        except OSError:
            return None
        usable = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        rows = [[int(value) for value in row[1:]] for row in lines if row and row[0] in usable]
        if not rows:
            return None
        # Columns of proc(5): user nice system idle iowait irq softirq steal. `steal` is what
        # another virtual machine takes.
        ticks = sum(sum(row[i] for i in (0, 2, 5, 6, 7)) for row in rows)
        times = os.times()
        own = times.user + times.system + times.children_user + times.children_system
        return cls(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), own, len(rows))

    def taken_until(self, later: CoreUse) -> float:
        """How many cores other programs kept busy from this moment to a later one."""
        used = (later.everyone - self.everyone) - (later.own - self.own)
        return min(float(self.cores), max(0.0, used / (later.at - self.at)))

    def warning(self) -> str:
        """One line if other programs took a quarter of the cores since then, else ""."""
        time.sleep(max(0.0, self.at + _SHORTEST_S - time.monotonic()))
        later = CoreUse.now()
        taken = 0.0 if later is None else self.taken_until(later)
        return shared_line(taken, self.cores, usable_cores(self.cores))


def shared_line(taken: float, cores: int, usable: float) -> str:
    """What a run says of cores that are shared, "" where enough of them are free.

    >>> shared_line(1.9, cores=2, usable=2)
    '1.9 of 2 cores are busy with other programs: this run will take longer'
    >>> shared_line(40, cores=64, usable=2)  # a container that may use two
    ''
    """
    if cores - taken > usable - _NOTABLE * usable:
        return ""
    return f"{taken:.1f} of {cores} cores are busy with other programs: this run will take longer"


def usable_cores(cores: int) -> float:
    """The cores that this process may use at once, a container's limit included."""
    limit = container_limit()
    return float(cores) if limit is None else min(float(cores), limit)


def container_limit() -> float | None:
    """The limit of the container (cgroup v2) in cores, None where there is none."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()[:2]
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)
