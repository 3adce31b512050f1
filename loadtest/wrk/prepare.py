#!/usr/bin/env python3
"""Admits fans and writes one reservation request a line: access token, queue token, body.

Usage: prepare.py BASE CONCERT SHOW TOKENS OUT

OUT       the first half of the fans, each another free seat: every request wins, once.
OUT.lost  the second half, who hold nothing at the show, all one seat that is taken: every request loses, however often.

The very first fan takes that seat here, before anything is measured, and is in neither file.
"""
import http.client
import json
import sys
import threading

base, concert, show, tokens_file, out = sys.argv[1:]
host = base.removeprefix("http://")
tokens = open(tokens_file).read().split()
queue = [None] * len(tokens)


def join(part):
    connection = http.client.HTTPConnection(host)
    for index in range(part, len(tokens), 8):
        headers = {"Authorization": f"Bearer {tokens[index]}"}
        connection.request("POST", f"/api/v1/concerts/{concert}/queue/tokens", headers=headers)
        answer = json.loads(connection.getresponse().read())
        assert answer["state"] == "active", answer
        queue[index] = answer["token"]


threads = [threading.Thread(target=join, args=(part,)) for part in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
# A thread that failed has said why, and ended alone.
assert all(queue), f"{queue.count(None)} fans were not admitted"

connection = http.client.HTTPConnection(host)
headers = {"Authorization": f"Bearer {tokens[0]}", "Queue-Token": queue[0]}
connection.request("GET", f"/api/v1/shows/{show}/seats", headers=headers)
seats = json.loads(connection.getresponse().read())["items"]


def choice(seat):
    return json.dumps({"seats": [{"seat_id": seat["seat_id"], "version": seat["version"]}]})


half = len(tokens) // 2
assert 1 < half <= len(seats), f"{half} fans need as many seats, and there are {len(seats)}"
taken = choice(seats[0])
headers["Content-Type"] = "application/json"
connection.request("POST", f"/api/v1/shows/{show}/reservations", body=taken, headers=headers)
answer = connection.getresponse()
body = answer.read()
assert answer.status == 201, body

with open(out, "w") as won, open(out + ".lost", "w") as lost:
    for index in range(1, half):
        won.write(f"{tokens[index]} {queue[index]} {choice(seats[index])}\n")
    for index in range(half, len(tokens)):
        lost.write(f"{tokens[index]} {queue[index]} {taken}\n")
