"""Counts to 200 with a Redis server, and knows at each step what it must say: `python client.py HOST PORT`."""

import sys

import redis

server = redis.Redis(sys.argv[1], int(sys.argv[2]), socket_timeout=30, socket_connect_timeout=30)
for number in range(1, 201):
    counted = server.incr("counter")
    assert counted == number, f"the counter says {counted} after {number} steps"
    server.rpush("list", f"item {number}")
found = server.lrange("list", 0, -1)
assert found == [f"item {number}".encode() for number in range(1, 201)], "the list has other items, or another order"
