"""What a run of loadtest/limits found: as tables, as JSON, and beside an earlier run.

A result is the JSON itself, so that an earlier one is read by the same functions. It has all rounds as they were.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from limits_clients import Sample

Result = dict[str, Any]



@dataclass
class Row:
    """A path of a program. The first limit is the one that it is compared with."""

    path: str
    program: str
    rounds: list[Sample] = field(default_factory=list)
    limits: dict[str, list[Sample]] = field(default_factory=dict)
    notes: dict[str, float] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Figure:
    """One figure of all rounds."""

    name: str
    values: list[float]
    more_is_better: bool = False
    # Whether it moves with the speed of the machine, which drifts, or with what the stores do by themselves.
    drifts: bool = False
    # A change of this share is none, however small the spread; it matters where a run has one figure alone.
    share: float = 0.02

    @property
    def middle(self) -> float:
        return median(self.values)

    @property
    def spread(self) -> float:
        return max(self.values) - min(self.values)

    def is_worse_than(self, kept: "Figure") -> bool:
        """By more than either spreads."""
        loss = (kept.middle - self.middle) * (1 if self.more_is_better else -1)
        return loss > max(self.spread, kept.spread, self.share * abs(kept.middle))


def _ratios(rounds: list[dict], limits: list[dict]) -> list[float]:
    """Round by round, for only what was measured within seconds compares."""
    return [one["rate"] / limit["rate"] for one, limit in zip(rounds, limits)]


def figures(row: dict[str, Any]) -> Iterator[Figure]:
    rounds = row["rounds"]
    for name, limit in row["limits"].items():
        yield Figure(f"of {name}", _ratios(rounds, limit), more_is_better=True)
    for process in rounds[0]["cpu_us"]:
        if process != "wrk":
            yield Figure(f"CPU us, {process}", [one["cpu_us"][process] for one in rounds], drifts=process != "server")
    if "allocations" in row["notes"]:
        yield Figure("allocations", [row["notes"]["allocations"]], share=0.1)
    yield Figure("answers/s", [one["rate"] for one in rounds], more_is_better=True, drifts=True)
    for percent in ("p50", "p99"):
        yield Figure(f"{percent} ms", [one[f"{percent}_us"] / 1000 for one in rounds], drifts=True)


def number(value: float) -> str:
    for least, form in ((100, ",.0f"), (10, ".1f"), (0, ".2f")):
        if abs(value) >= least:
            return format(value, form)
    return str(value)


def between(values: list[float]) -> str:
    """The median, and least and most behind it."""
    if len(set(values)) == 1:
        return number(values[0])
    return f"{number(median(values))} ({number(min(values))}-{number(max(values))})"


def table(head: list[str], lines: list[list[str]]) -> Iterator[str]:
    """The first two columns to the left, figures to the right."""
    widths = [max(len(line[n]) for line in [head, *lines]) for n in range(len(head))]
    for line in [head, *lines]:
        cells = [cell.ljust(width) if n < 2 else cell.rjust(width) for n, (cell, width) in enumerate(zip(line, widths))]
        yield "  ".join(cells).rstrip()


def _rates(values: list[dict]) -> str:
    return between([value["rate"] for value in values])


def speeds(result: Result) -> Iterator[str]:
    lines = []
    for row in result["rows"]:
        path, program = row["path"], row["program"]
        for name, limit in row["limits"].items():
            ratio = between(_ratios(row["rounds"], limit))
            lines.append([path, program, _rates(row["rounds"]), name, _rates(limit), ratio])
            path = program = ""
    yield from table(["path", "program", "right answers/s", "limit", "limit/s", "ratio"], lines)


def costs(result: Result) -> Iterator[str]:
    processes = ("server", "postgres", "redis", "wrk")

    def line(path: str, name: str, rounds: list[dict], notes: dict[str, float]) -> list[str]:
        times = [between([one[key] / 1000 for one in rounds]) for key in ("p50_us", "p99_us")]
        cpu = [between([one["cpu_us"][each] for one in rounds]) if each in rounds[0]["cpu_us"] else "" for each in processes]
        return [path, name, *times, *cpu, number(notes["allocations"]) if "allocations" in notes else ""]

    lines, told = [], set()
    for row in result["rows"]:
        bare = row["limits"].get("bare route")
        if bare and row["path"] not in told:
            lines.append(line(row["path"], "bare route", bare, {}))
        told.add(row["path"])
        lines.append(line(row["path"], row["program"], row["rounds"], row["notes"]))
    head = ["path", "program", "p50 ms", "p99 ms", *(f"{process} us" for process in processes), "allocations"]
    yield from table(head, lines)


def side_by_side(result: Result) -> Iterator[str]:
    """Programs after the first, each to the first, round by round."""
    first = result["rows"][0]["program"]
    of_first = {row["path"]: row for row in result["rows"] if row["program"] == first}
    lines = []
    for row in result["rows"]:
        if row["program"] == first:
            continue
        other = of_first[row["path"]]
        cells = [between(_ratios(row["rounds"], other["rounds"]))]
        shares = zip(row["rounds"], other["rounds"])
        cells.append(between([one["cpu_us"]["server"] / max(its["cpu_us"]["server"], 0.01) for one, its in shares]))
        both = "allocations" in row["notes"] and "allocations" in other["notes"]
        cells.append(number(row["notes"]["allocations"] / other["notes"]["allocations"]) if both else "")
        lines.append([row["path"], f"{row['program']} to {first}", *cells])
    if lines:
        yield from table(["path", "programs", "answers/s", "server CPU", "allocations"], lines)


def notes(result: Result) -> Iterator[str]:
    for row in result["rows"]:
        if "joins_per_batch" in row["notes"]:
            yield f"{row['program']}: {number(row['notes']['joins_per_batch'])} joins in a batch, in the last round"


def memory(result: Result) -> Iterator[str]:
    for program, kept in result["memory_mb"].items():
        idle, after, most = (kept[when] for when in ("idle", "after", "most"))
        yield f"{program}: resident memory idle {idle:.0f} MB, after the run {after:.0f} MB, at most {most:.0f} MB"


def _all_figures(result: Result) -> dict[tuple[str, str, str], Figure]:
    found = {(row["path"], row["program"], figure.name): figure for row in result["rows"] for figure in figures(row)}
    for program, kept in result["memory_mb"].items():
        for when, value in kept.items():
            found["memory", program, f"MB {when}"] = Figure(f"MB {when}", [value], share=0.1)
    return found


def against(result: Result, kept: Result) -> Iterator[str]:
    """Each figure beside the one of an earlier run, and what became slower."""
    now, before = _all_figures(result), _all_figures(kept)
    share = median(result["plain_bare"]) / median(kept["plain_bare"])
    yield f"beside {kept['commit']} of {kept['date']}: the plain bare route is {share:.2f} times as fast as it was then"
    for key in ("cpu", "cores", "kernel"):
        if result["machine"][key] != kept["machine"][key]:
            yield f"ANOTHER MACHINE: {key} was {kept['machine'][key]} and is {result['machine'][key]}"
    for name, was in kept["stores"].items():
        if result["stores"].get(name) != was:
            yield f"OTHER STORES: {name} was {was} and is {result['stores'].get(name)}"
    lines, worse = [], {False: [], True: []}
    for key in now.keys() & before.keys():
        figure, was = now[key], before[key]
        mark = ""
        if figure.is_worse_than(was):
            mark = "slower" if not key[0] == "memory" else "more"
            worse[figure.drifts].append(f"{key[0]} ({key[1]}): {key[2]}")
        change = f"{100 * (figure.middle / was.middle - 1):+.0f} %" if was.middle else ""
        lines.append([key[0], key[1], key[2], between(figure.values), between(was.values), change, mark])
    order = list(now)
    lines.sort(key=lambda line: order.index((line[0], line[1], line[2])))
    yield from table(["path", "program", "figure", "now", "kept", "change", ""], lines)
    yield f"slower than it was, by what compares across days: {'; '.join(sorted(worse[False])) or 'nothing'}"
    yield f"slower than it was, by what also moves with the machine and the stores: {'; '.join(sorted(worse[True])) or 'nothing'}"
    for key in sorted(before.keys() - now.keys()):
        yield f"not in this run: {' '.join(key)}"
