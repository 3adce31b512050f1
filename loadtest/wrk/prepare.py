#!/usr/bin/env python3
"""Admits fans and writes one reservation request a line: access token, queue token, body.

Usage: prepare.py BASE CONCERT SHOW TOKENS OUT
Writes OUT (each fan another seat) and OUT.lost (each fan a version that has passed, so that every request loses).
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

connection = http.client.HTTPConnection(host)
headers = {"Authorization": f"Bearer {tokens[0]}", "Queue-Token": queue[0]}
connection.request("GET", f"/api/v1/shows/{show}/seats", headers=headers)
seats = json.loads(connection.getresponse().read())["items"]
with open(out, "w") as won, open(out + ".lost", "w") as lost:
    for access, token, seat in zip(tokens, queue, seats):
        body = {"seats": [{"seat_id": seat["id"], "version": seat["version"]}]}
        won.write(f"{access} {token} {json.dumps(body)}\n")
        body = {"seats": [{"seat_id": seats[2]["id"], "version": 1}]}
        lost.write(f"{access} {token} {json.dumps(body)}\n")
