"""The programs that loadtest/limits measures with: wrk, pgbench, redis-benchmark, and the bare route that they are pointed at."""

import http.client
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from limits_machine import Clock

SQL = Path("crates/infrastructure/src/postgres/sql")


class Failure(Exception):
    """The run means nothing: a wrong answer, or something that does not work."""


@dataclass
class Sample:
    """What one short run measured. CPU is microseconds per right answer, by process; `wrk` is the client itself."""

    rate: float
    p50_us: float | None = None
    p99_us: float | None = None
    cpu_us: dict[str, float] = field(default_factory=dict)
    answers: int = 0


@dataclass
class Asked:
    """What wrk sends, and the right answer to it. `expect` is as loadtest/wrk/requests.lua takes it."""

    requests: Path
    expect: str
    secs: int
    connections: int = 64
    once: bool = False
    # Of the body that the bare route answers; its small object when there is none.
    bare_bytes: int | None = None


def request_line(method: str, path: str, headers: Mapping[str, str], body: str = "") -> str:
    fields = [method, path, body, *(text for header in headers.items() for text in header)]
    return "\t".join(fields) + "\n"


def run(command: Sequence[str | bytes], environment: Mapping[str, str] | None = None) -> bytes:
    """What a program prints; its errors too when it fails."""
    name = os.fsdecode(command[0])
    try:
        done = subprocess.run(command, env={**os.environ, **(environment or {})}, capture_output=True)
    except FileNotFoundError:
        raise Failure(f"{name} is missing") from None
    if done.returncode != 0:
        raise Failure(f"{name} failed:\n{(done.stdout + done.stderr).decode(errors='replace')[-2000:]}")
    return done.stdout


def psql(url: str, statement: str) -> str:
    return run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", url, "-c", statement]).decode().strip()


def psql_file(url: str, file: Path, **variables: int) -> None:
    settings = [word for name, value in variables.items() for word in ("-v", f"{name}={value}")]
    run(["psql", "-qAtX", *settings, url, "-f", str(file)])


# --- wrk ---------------------------------------------------------------------------------------------------------


def wrk(port: int, what: str, asked: Asked, processes: Mapping[str, Clock]) -> Sample:
    """Right answers a second. Any wrong one ends everything."""
    threads = min(2, asked.connections)
    environment = {"REQUESTS": str(asked.requests), "EXPECT": asked.expect, "THREADS": str(threads)}
    environment["ONCE"] = "yes" if asked.once else "no"
    command = ["wrk", f"-t{threads}", f"-c{asked.connections}", f"-d{asked.secs}s", "-s", "loadtest/wrk/requests.lua"]
    before = {name: clock() for name, clock in processes.items()}
    text = run([*command, f"http://127.0.0.1:{port}"], environment).decode()
    spent = {name: clock() - before[name] for name, clock in processes.items()}
    told = json.loads(next(line for line in text.splitlines() if line.startswith("ANSWERS")).removeprefix("ANSWERS "))
    if told["wrong"] or told["errors"] or not told["answers"]:
        raise Failure(f"{what}: {told['wrong']} wrong answers ({told['outcomes']}), {told['errors']} errors, of {told['answers']}")
    if told["exhausted"]:
        raise Failure(f"{what}: the prepared requests ran out; run with --more 2")
    spent["wrk"] = told["client_secs"]
    cpu_us = {name: round(secs * 1e6 / told["answers"], 2) for name, secs in spent.items()}
    return Sample(round(told["answers"] / told["secs"], 1), told["p50_us"], told["p99_us"], cpu_us, told["answers"])


def trickle(port: int, what: str, asked: Asked, times: int) -> None:
    """The last requests of the file, which wrk does not come to, evenly over as many seconds as it asks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    right = {int(outcome.split(" ")[0]) for outcome in asked.expect.split("|")}
    began = time.monotonic()
    for n, line in enumerate(asked.requests.read_text().splitlines()[-times:]):
        method, path, body, *headers = line.split("\t")
        connection.request(method, path, body=body or None, headers=dict(zip(headers[::2], headers[1::2])))
        answer = connection.getresponse()
        answer.read()
        if answer.status not in right:
            raise Failure(f"{what}: {answer.status}")
        time.sleep(max(0.0, began + (n + 1) * asked.secs / times - time.monotonic()))
    connection.close()


def plain_wrk(port: int, secs: int) -> float:
    """What the bare route answers to wrk without a script: for reference, no route is asked like this."""
    text = run(["wrk", "-t2", "-c64", f"-d{secs}s", f"http://127.0.0.1:{port}/"]).decode()
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])


class Bare:
    """The bare route, started anew for each size of its body."""

    PORT = 18_090

    def __init__(self, program: Path, size: int | None):
        self._command = [str(program), str(self.PORT), *([] if size is None else [str(size)])]
        self._size = size

    def __enter__(self) -> int:
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while True:
            try:
                right = self._answers_as_it_must()
                break
            except OSError:
                if time.monotonic() > until:
                    self.__exit__()
                    raise Failure("the bare route does not start") from None
                time.sleep(0.05)
        if not right:
            self.__exit__()
            raise Failure("the bare route is an old one: cargo build --release -p onsale-http-api --example bare_route")
        return self._process.pid

    def _answers_as_it_must(self) -> bool:
        """With so many bytes, and without closing the connection of a request that has a body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.PORT, timeout=5)
        connection.request("POST", "/", body="{}")
        answer = connection.getresponse()
        body, closes = answer.read(), answer.will_close
        connection.close()
        return not closes and self._size in (None, len(body))

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


# --- pgbench -----------------------------------------------------------------------------------------------------


def statement(name: str, values: Mapping[str, str]) -> str:
    """A statement of the product on one line, with pgbench's variables for its parameters."""
    lines = (SQL / name).read_text().splitlines()
    text = " ".join(line for line in lines if not line.lstrip().startswith("--"))
    return re.sub(r"(?<!:):([a-z_]+)\b", lambda found: values[found[1]], text) + ";\n"


# The row of bench_sale whose number a sequence gives next is in variables with the names of its columns.
_NEXT = "SELECT * FROM bench_sale WHERE n = (SELECT nextval('{sequence}')) \\gset\n"
_OF_ONE_SEAT = {
    "user_id": ":user_id::uuid",
    "show_id": ":show_id::uuid",
    "reservation_id": ":reservation_id::uuid",
    "seat_ids": "ARRAY[:seat_id::uuid]",
    "seat_locks": "ARRAY[:seat_lock::bigint]",
    "versions": "ARRAY[1]",
    "fan_and_show_lock": ":fan_lock::bigint",
    "show_lock": ":show_lock::bigint",
    "turn": "1::bigint",
}


def hold_script() -> str:
    held = {**_OF_ONE_SEAT, "event_id": ":held_id::uuid"}
    statements = statement("claim_seats.sql", held) + statement("hold.sql", held)
    return _NEXT.format(sequence="bench_holds") + "BEGIN;\n" + statements + "COMMIT;\n"


def pay_script() -> str:
    """With what an Idempotency-Key costs: it is claimed, looked for, and stored with an answer."""
    paid = {
        **_OF_ONE_SEAT,
        "event_id": ":paid_id::uuid",
        "payment_id": ":payment_id::uuid",
        "ledger_transaction_id": ":posting_id::uuid",
        "ticket_ids": "ARRAY[:ticket_id::uuid]",
    }
    stored = "FROM idempotency_keys WHERE user_id = :user_id::uuid AND key = :key"
    return (
        _NEXT.format(sequence="bench_pays")
        + "BEGIN;\n"
        + f"SELECT CASE WHEN NOT EXISTS (SELECT 1 {stored}) THEN pg_try_advisory_xact_lock(:key_lock::bigint) END;\n"
        + f"SELECT request_hash, body {stored};\n"
        + statement("pay.sql", paid)
        + "INSERT INTO idempotency_keys (user_id, key, request_hash, body)"
        + " VALUES (:user_id::uuid, :key, decode(repeat('5a', 32), 'hex'), repeat('x', 360));\n"
        + "COMMIT;\n"
    )


def join_script() -> str:
    """As the product joins a batch: committed at once, and then waited for until it is on disk."""
    kinds = {"fans": "uuid[]", "ids": "uuid[]", "ids_hash": "bytea", "concert_id": "uuid"}
    batch = {name: f":{name}::{kind}" for name, kind in kinds.items()}
    return (
        "SELECT * FROM bench_joins WHERE batch = (SELECT nextval('bench_batches')) \\gset\n"
        + statement("join_new.sql", batch)
        + statement("on_disk.sql", {})
    )


class Bench:
    """A database for pgbench alone, so that no server ticks what pgbench has written."""

    CLIENTS = 16

    def __init__(self, url: str, folder: Path):
        self.url = url
        self._scripts = {"hold": hold_script(), "pay": pay_script(), "join": join_script()}
        self._folder = folder
        for name, text in self._scripts.items():
            (folder / f"{name}.pgbench").write_text(text)
        self._lines = 0
        psql_file(url, Path("loadtest/sql/limits.sql"))

    def _pgbench(self, name: str, clients: int, secs: int, made: str, options: str = "") -> float:
        """Transactions a second; `made` counts what they have left in the database."""
        before = int(psql(self.url, made))
        command = ["pgbench", "-n", "-M", "prepared", f"-c{clients}", f"-j{min(2, clients)}", f"-T{secs}"]
        text = run([*command, "-f", str(self._folder / f"{name}.pgbench"), self.url], {"PGOPTIONS": options}).decode()
        done = int(re.search(r"transactions actually processed: (\d+)", text)[1])
        left = int(psql(self.url, made)) - before
        if done != left:
            raise Failure(f"pgbench, {name}: {done} transactions have left {left} rows; they may have run out, see --more")
        return float(re.search(r"tps = ([\d.]+)", text)[1])

    def hold(self, secs: int) -> Sample:
        return Sample(self._pgbench("hold", self.CLIENTS, secs, "SELECT count(*) FROM reservations"))

    def pay(self, secs: int) -> Sample:
        return Sample(self._pgbench("pay", self.CLIENTS, secs, "SELECT count(*) FROM payments"))

    def join(self, secs: int, size: int, places: int) -> Sample:
        """Places a second over one connection, for the batches of a line follow each other."""
        self._lines += 1
        psql_file(self.url, Path("loadtest/sql/limits-joins.sql"), line=self._lines, size=size, batches=places // size)
        # As the product's connections for joins are set.
        options = "-c plan_cache_mode=force_generic_plan -c synchronous_commit=off"
        return Sample(size * self._pgbench("join", 1, secs, "SELECT count(*) FROM line_log WHERE kind = 'joined'", options))


# --- Redis -------------------------------------------------------------------------------------------------------


class Redis:
    """A single Redis without a password, as `onsale stack exec` starts it. Another one is None."""

    def __init__(self, host: str, port: int):
        self.host, self.port = host, port

    @staticmethod
    def at(url: str) -> "Redis | None":
        parts = urlsplit(url)
        if parts.scheme != "redis" or parts.password or "," in url:
            return None
        return Redis(parts.hostname or "127.0.0.1", parts.port or 6379)

    def ask(self, *words: bytes) -> bytes:
        """The answer as it comes over the wire, or the beginning of a long one."""
        with socket.create_connection((self.host, self.port), 5) as connection:
            sent = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
            connection.sendall(b"*%d\r\n" % len(words) + sent)
            return connection.recv(65_536)

    def call_of(self, word: bytes, act: Callable[[], object]) -> list[bytes]:
        """The call of a script in which a word stands, while something is done that makes the product call it."""
        with socket.create_connection((self.host, self.port), 5) as connection:
            connection.sendall(b"MONITOR\r\n")
            lines = connection.makefile("rb")
            lines.readline()
            act()
            for line in lines:
                words = [_plain(found) for found in re.findall(rb'"((?:[^"\\]|\\.)*)"', line)]
                if words and words[0].upper() == b"EVALSHA" and word in words:
                    return words
        raise Failure("Redis ended")

    def benchmark(self, call: Sequence[bytes], calls: int) -> Sample:
        """Calls a second, each connection one after the other."""
        answer = self.ask(*call)
        if not re.match(rb"\*\d+\r\n:1\r\n", answer):
            raise Failure(f"the script that redis-benchmark is to repeat does nothing, it answers {answer!r}")
        command = ["redis-benchmark", "-h", self.host, "-p", str(self.port), "-q", "-c", "64", "-n", str(calls), *call]
        return Sample(float(re.findall(rb"([\d.]+) requests per second", run(command))[-1]))


def _plain(text: bytes) -> bytes:
    """What MONITOR has escaped."""
    escaped = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}

    def one(found: re.Match[bytes]) -> bytes:
        return bytes([int(found[1], 16)]) if found[1] else escaped.get(found[2], found[2])

    return re.sub(rb"\\(?:x([0-9a-f]{2})|(.))", one, text, flags=re.DOTALL)
