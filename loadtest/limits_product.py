"""A program under measurement: its server and database, its concerts and fans, and what wrk is to ask it."""

import http.client
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from limits_clients import Asked, Failure, psql, request_line, run
from limits_machine import memory_kb

T = TypeVar("T")
OPERATOR = {"email": "limits@onsale.example", "password": "limits-limits"}
# Who waits does so for as long as the run lasts, and so does a turn.
FOR_THE_RUN = {
    "interval_secs": 3600,
    "batch": 1,
    "idle_admission": False,
    "active_sliding_secs": 3600,
    "active_absolute_secs": 3600,
    "claim_secs": 3600,
    "waiting_limit": 10_000_000,
}


def database(url: str, name: str) -> str:
    """The same server's database of this name."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


@dataclass
class Fan:
    user_id: str
    access: str
    # The queue token, when the fan has a place.
    queue: str = ""

    @property
    def headers(self) -> dict[str, str]:
        signed_in = {"Authorization": f"Bearer {self.access}"}
        return {**signed_in, "Queue-Token": self.queue} if self.queue else signed_in


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Sizes:
    """How many fans there are of each kind."""

    # Who poll; who look at seats and lose them; who win and pay seats.
    waiting: int
    looking: int
    buying: int
    # Who join, all of them in each run.
    joining: int


class Program:
    """Serves on a port of its own, with a database and a prefix in Redis of its own."""

    def __init__(self, name: str, path: Path, port: int, url: str, folder: Path, secrets: Mapping[str, str]):
        self.name, self.path, self.port, self.url = name, path, port, url
        self.folder = folder / name
        self.folder.mkdir()
        self._environment = {
            **os.environ,
            **secrets,
            "DATABASE_URL": url,
            "ONSALE_REDIS_KEY_PREFIX": f"limits-{name}",
            "ONSALE_HTTP_BIND": f"127.0.0.1:{port}",
            # As many as the bare route has.
            "ONSALE_HTTP_WORKERS": "2",
            "ONSALE_LOG_FORMAT": "json",
            "ONSALE_OPERATOR_PASSWORD": OPERATOR["password"],
            # What would refuse a single machine that is many fans.
            "ONSALE_HTTP_USER_REQUESTS_PER_SEC": "1000000",
            "ONSALE_HTTP_LOGINS_PER_MIN": "1000000",
            "ONSALE_LINE_EARLY_POLL_GUARD": "false",
            "ONSALE_AUTH_ALLOW_TOKEN_MINT": "true",
            "ONSALE_AUTH_ACCESS_TTL_SECS": "86400",
        }
        self._process: subprocess.Popen[bytes] | None = None

    # --- The process ---------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        if self._process is None:
            raise Failure(f"{self.name} does not run")
        return self._process.pid

    def onsale(self, *arguments: str) -> str:
        return run([str(self.path), *arguments], self._environment).decode()

    def start(self) -> None:
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen([self.path, "serve"], env=self._environment, stdout=log, stderr=log)
        until = time.monotonic() + 30
        while True:
            try:
                self.call("GET", "/readyz", expect=200)
                break
            except (OSError, Failure):
                if self._process.poll() is not None or time.monotonic() > until:
                    log_end = (self.folder / "log").read_text(errors="replace")[-2000:]
                    raise Failure(f"{self.name} does not serve:\n{log_end}") from None
                time.sleep(0.1)
        # A moment after it could serve, before anybody has asked for anything.
        time.sleep(0.5)
        self.idle_kb = memory_kb(self.pid)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    # --- The API -------------------------------------------------------------------------------------------------

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        expect: int | tuple[int, ...] = (200, 201, 204),
        connection: http.client.HTTPConnection | None = None,
    ) -> Answer:
        own = connection is None
        connection = connection or self.connect()
        sent = None if body is None else json.dumps(body)
        typed = {} if sent is None else {"Content-Type": "application/json"}
        connection.request(method, path, body=sent, headers={**(headers or {}), **typed})
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        if own:
            connection.close()
        if answer.status not in ((expect,) if isinstance(expect, int) else expect):
            raise Failure(f"{self.name}: {method} {path} answers {answer.status}: {answer.body[:500].decode(errors='replace')}")
        return answer

    def each(self, items: Iterable[T], act: Callable[[T, http.client.HTTPConnection], object]) -> None:
        """Does something for each item, eight at a time."""
        kept = threading.local()

        def one(item: T) -> None:
            if not hasattr(kept, "connection"):
                kept.connection = self.connect()
            act(item, kept.connection)

        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(one, items):
                pass

    def operate(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None):
        signed_in = {"Authorization": f"Bearer {self._operator}"}
        answer = self.call(method, f"/api/v1/admin{path}", {**signed_in, **(headers or {})}, body)
        return answer.json if answer.body else None

    def concert(self, active_limit: int) -> str:
        """On sale at once, which takes a free seat, so it has a show with one."""
        policy = {**FOR_THE_RUN, "active_limit": active_limit}
        concert = self.operate("POST", "/concerts", {"title": "Limits", "queue_policy": policy})["id"]
        self.show(concert, 1)
        version = self.operate("GET", f"/concerts/{concert}")["version"]
        self.operate("PATCH", f"/concerts/{concert}", {"sale_state": "on_sale"}, {"If-Match": f'"{version}"'})
        return concert

    def show(self, concert: str, seats: int) -> str:
        """With so many seats, in rows of fifty."""
        new = {"venue": "Limits", "starts_at": "2100-01-01T00:00:00Z", "hold_secs": 3600}
        show = self.operate("POST", f"/concerts/{concert}/shows", new)["id"]
        each = min(seats, 50)
        block = {"section": "A", "rows": -(-seats // each), "seats_per_row": each, "price_minor": 100}
        self.operate("POST", f"/shows/{show}/seats", {"blocks": [block]})
        return show

    def seats(self, show: str, since: str = "") -> Answer:
        query = f"?since={since}" if since else ""
        return self.call("GET", f"/api/v1/shows/{show}/seats{query}", self.lookers[0].headers)

    def mint(self, fans: int, balance: int, prefix: str) -> list[Fan]:
        told = self.onsale("token", "mint", "--fans", str(fans), "--balance", str(balance), "--prefix", prefix)
        made = map(json.loads, told.splitlines())
        return [Fan(fan["user_id"], fan["access_token"]) for fan in made]

    def join(self, concert: str, fans: Sequence[Fan]) -> dict[int, Fan]:
        """Puts them in line and keeps their tokens. Answers who has to wait, by number."""
        path = f"/api/v1/concerts/{concert}/queue/tokens"
        waiting: dict[int, Fan] = {}

        def one(fan: Fan, connection: http.client.HTTPConnection) -> None:
            signed_in = {"Authorization": f"Bearer {fan.access}"}
            place = self.call("POST", path, signed_in, connection=connection).json
            fan.queue = place["token"]
            if place["state"] == "waiting":
                waiting[place["number"]] = fan

        self.each(fans, one)
        return waiting

    def admit(self, concert: str, fans: Sequence[Fan]) -> None:
        """Joins them, and gives turns to who has none."""
        waiting = self.join(concert, fans)
        if not waiting:
            return
        missing, last = len(waiting), waiting[max(waiting)]
        path, until = f"/api/v1/concerts/{concert}/queue/tokens/me", time.monotonic() + 30
        # Calls are written down before they are turns, in the order of the line; so when the last fan has one, all do.
        while self.call("GET", path, last.headers).json["state"] != "active":
            if missing > 0:
                missing -= self.operate("POST", f"/concerts/{concert}/queue/admissions", {"count": missing})["admitted"]
            if time.monotonic() > until:
                raise Failure(f"{self.name}: {len(waiting)} fans were not all admitted")
            time.sleep(0.05)

    # --- What is there before anything is measured ---------------------------------------------------------------

    def prepare(self, sizes: Sizes) -> None:
        self.onsale("migrate")
        self.onsale("operator", "create", "--email", OPERATOR["email"])
        self.start()
        self._operator = self.call("POST", "/api/v1/auth/login", body=OPERATOR).json["access_token"]
        self._joiners = self.mint(sizes.joining, 0, "joins")
        self._waiting = self.mint(sizes.waiting, 0, "waits")
        self.lookers = self.mint(sizes.looking, 0, "looks")
        self._buyers = self.mint(sizes.buying, 1_000_000, "buys")
        self._by_id = {fan.user_id: fan for fan in self._buyers}
        self._line = self.concert(active_limit=1)
        self.join(self._line, self._waiting)
        self._sale = self.concert(active_limit=100_000)
        self.admit(self._sale, self.lookers)
        # One seat, taken by the last of them, so that all others lose it for ever.
        self._lost = self.show(self._sale, 1)
        self._lost_seat = self._choice(self.seats(self._lost).json["items"][0])
        self.call("POST", f"/api/v1/shows/{self._lost}/reservations", self.lookers[-1].headers, self._lost_seat)
        self._accounts = [{"email": f"login-{n}@limits.example", "password": "a seat in the first row"} for n in range(8)]
        for account in self._accounts:
            self.call("POST", "/api/v1/auth/signup", body={**account, "display_name": "Limits"})
        # Who need a turn before they can buy.
        self._without_turn = {fan.user_id for fan in self._buyers}

    def _requests(self, name: str, lines: Iterable[str]) -> Path:
        file = self.folder / name
        with file.open("w") as out:
            out.writelines(lines)
        return file

    @staticmethod
    def _choice(seat: Mapping[str, object]) -> dict[str, object]:
        return {"seats": [{"seat_id": seat["seat_id"], "version": seat["version"]}]}

    # --- What wrk asks. Each is called right before its run. -------------------------------------------------------

    def polls(self, secs: int) -> Asked:
        """Fans who wait ask for their place, one after the other."""
        path = f"/api/v1/concerts/{self._line}/queue/tokens/me"
        lines = (request_line("GET", path, fan.headers) for fan in self._waiting)
        return Asked(self._requests("polls", lines), '200 "state":"waiting"', secs)

    def joins(self, secs: int) -> Asked:
        """Fans join a new line, each once."""
        self._newest_line = self.concert(active_limit=1)
        path = f"/api/v1/concerts/{self._newest_line}/queue/tokens"
        lines = (request_line("POST", path, fan.headers) for fan in self._joiners)
        return Asked(self._requests("joins", lines), "201", secs, once=True)

    def tokens_of_joiners(self) -> Path:
        """As loadtest/joins.js takes them."""
        return self._requests("tokens", (f"{fan.access}\n" for fan in self._joiners))

    def _look(self, name: str, query: str, expect: str, secs: int, more: Mapping[str, str], size: int | None) -> Asked:
        path = f"/api/v1/shows/{self._hall}/seats{query}"
        lines = (request_line("GET", path, {**fan.headers, **more}) for fan in self.lookers)
        return Asked(self._requests(name, lines), expect, secs, bare_bytes=size)

    def seat_list(self, secs: int, seats: int) -> Asked:
        """All seats of a new show, not compressed."""
        self._hall = self.show(self._sale, seats)
        size = len(self.seats(self._hall).body)
        return self._look("seats", "", '200 "complete":true', secs, {}, size)

    def changes(self, secs: int) -> Asked:
        """What has changed since ten seats were taken."""
        before = self.seats(self._hall)
        chosen = list(zip(self.lookers, before.json["items"][:10]))
        self.each(chosen, lambda pair, connection: self.call(
            "POST", f"/api/v1/shows/{self._hall}/reservations", pair[0].headers, self._choice(pair[1]), connection=connection))
        time.sleep(0.5)
        since = before.headers["Seats-Version"]
        after = self.seats(self._hall, since)
        if after.json["complete"] or not 10 <= len(after.json["items"]) <= 20:
            raise Failure(f"{self.name}: ten seats changed, and {len(after.json['items'])} were told")
        return self._look("changes", f"?since={since}", '200 "complete":false', secs, {}, len(after.body))

    def unchanged(self, secs: int) -> Asked:
        """The list of the same show, by who has it already."""
        tag = self.seats(self._hall).headers["ETag"]
        return self._look("unchanged", "", "304", secs, {"If-None-Match": tag}, None)

    def losing(self, secs: int) -> Asked:
        """Fans who hold nothing there want a seat that is taken."""
        path, body = f"/api/v1/shows/{self._lost}/reservations", json.dumps(self._lost_seat)
        lines = (request_line("POST", path, {**fan.headers, "Content-Type": "application/json"}, body) for fan in self.lookers[:-1])
        return Asked(self._requests("losing", lines), '409 "code":"seat_taken"|409 "code":"version_conflict"', secs)

    def lose_once(self) -> Callable[[Fan], Answer]:
        path = f"/api/v1/shows/{self._lost}/reservations"
        return lambda fan: self.call("POST", path, fan.headers, self._lost_seat, expect=409)

    def winning(self, secs: int) -> Asked:
        """Fans reserve another free seat each, once. Who has paid has no turn any more and joins anew before."""
        self.admit(self._sale, [fan for fan in self._buyers if fan.user_id in self._without_turn])
        self._without_turn.clear()
        self._won = self.show(self._sale, len(self._buyers))
        path, seats = f"/api/v1/shows/{self._won}/reservations", self.seats(self._won).json["items"]
        lines = (
            request_line("POST", path, {**fan.headers, "Content-Type": "application/json"}, json.dumps(self._choice(seat)))
            for fan, seat in zip(self._buyers, seats)
        )
        return Asked(self._requests("winning", lines), "201", secs, connections=16, once=True)

    def paying(self, secs: int) -> Asked:
        """What was won a moment before is paid, each once and under a key of its own."""
        held = psql(self.url, f"SELECT id, user_id FROM reservations WHERE show_id = '{self._won}' AND state = 'held'").splitlines()
        lines = []
        for reservation, user_id in (row.split("|") for row in held):
            headers = {**self._by_id[user_id].headers, "Idempotency-Key": f"pay-{reservation}"}
            lines.append(request_line("POST", f"/api/v1/reservations/{reservation}/payment", headers))
            self._without_turn.add(user_id)
        return Asked(self._requests("paying", lines), "201", secs, connections=16, once=True)

    def logins(self, secs: int, connections: int = 8) -> Asked:
        """With a password, which argon2id makes slow on purpose."""
        typed = {"Content-Type": "application/json"}
        lines = (request_line("POST", "/api/v1/auth/login", typed, json.dumps(account)) for account in self._accounts)
        return Asked(self._requests("logins", lines), '200 "access_token"', secs, connections=connections)

    # --- What must be so afterwards ------------------------------------------------------------------------------

    def joins_per_batch(self) -> float:
        """Of the newest line."""
        of_line = f"WHERE concert_id = '{self._newest_line}'"
        batches = f"SELECT count(*) FROM line_log {of_line} AND kind = 'joined'"
        return float(psql(self.url, f"SELECT (SELECT count(*) FROM line_places {of_line})::float / ({batches})"))

    def verdict(self) -> dict[str, bool]:
        """Whether the data are as they must be, for else the speed means nothing."""
        doubled = psql(self.url, """SELECT count(*) FROM (SELECT seat_id FROM reservation_seats WHERE live
            GROUP BY seat_id HAVING count(*) > 1) twice""")
        gaps = psql(self.url, """SELECT count(*) FROM (SELECT count(*) AS places, max(number) AS last, max(l.seq) AS seq
            FROM line_places p JOIN lines l USING (concert_id) GROUP BY p.concert_id) line WHERE places <> last OR last <> seq""")
        return {
            "money and seats add up": self.operate("GET", "/ledger/reconciliation")["balanced"],
            "no seat is in two live reservations": doubled == "0",
            "each line has the numbers 1, 2, 3...": gaps == "0",
        }


def call_of_the_gate(program: Program, monitor: Callable[[bytes, Callable[[], object]], list[bytes]]) -> list[bytes]:
    """The one call of Redis that a losing reservation makes, of a fan whose call has no byte zero, which no argument can hold."""
    lose = program.lose_once()
    for fan in program.lookers[:-1]:
        call = monitor(UUID(fan.user_id).bytes, lambda: lose(fan))
        if not any(b"\0" in word for word in call):
            return call
    raise Failure("each call of the gate has a byte zero")
