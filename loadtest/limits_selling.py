"""Selling while fans join another line, for loadtest/limits --selling."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from limits_clients import Bare, Failure, wrk
from limits_product import Program
from limits_report import between

RATE, SECS = 2_000, 6
ALONE = "alone"
BESIDE_BARE = f"while k6 asks the bare route {RATE:,} times a second"
BESIDE_JOINS = f"while {RATE:,} fans a second join"


class Joins:
    """k6, which sends joins at an even rate to some port."""

    def __init__(self, program: Program, port: int):
        k6 = os.environ.get("K6", ".onsale/tools/venv/bin/k6")
        given = {
            "BASE_URLS": f"http://127.0.0.1:{port}",
            "CONCERT": program.concert(active_limit=1),
            "TOKENS": str(program.tokens_of_joiners()),
            "RATE": str(RATE),
            "SECS": str(SECS),
        }
        settings = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
        command = [k6, "run", "-q", "--no-usage-report", *settings, "loadtest/joins.js"]
        try:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        except OSError as why:
            raise Failure(f"--selling needs k6 (script/bootstrap --tests, or K6=PATH): {why}") from None

    def told(self) -> str:
        return self._process.communicate()[0].decode().strip()


def selling_while_fans_join(program: Program, rounds: int, bare: Path) -> Iterator[str]:
    """k6 takes cores, so what is won while fans join compares only with what is won while k6 asks the bare route as often."""
    won: dict[str, list[float]] = {ALONE: [], BESIDE_BARE: [], BESIDE_JOINS: []}
    told = []
    for _ in range(rounds):
        for beside, rates in won.items():
            asked = program.winning(2)
            with ExitStack() as stack:
                joins = None
                if beside != ALONE:
                    stack.enter_context(Bare(bare, None))
                    joins = Joins(program, Bare.PORT if beside == BESIDE_BARE else program.port)
                    # Until k6 is at its rate.
                    time.sleep(2.5)
                rates.append(wrk(program.port, "winning", asked, {}).rate)
                if joins:
                    said = joins.told()
                    if beside == BESIDE_JOINS:
                        told.append(said)
    for beside, rates in won.items():
        yield f"winning {beside}: {between(rates)}/s"
    ratios = [one / other for one, other in zip(won[BESIDE_JOINS], won[BESIDE_BARE])]
    yield f"of what is won while k6 asks the bare route: {between(ratios)}"
    yield from (f"these joins: {line}" for line in told)
