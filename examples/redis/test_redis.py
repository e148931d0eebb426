"""The same server in pytest, with the scenario file and without: `pytest examples/redis`."""

import pytest
import redis
from faultlab.faults import Loss


@pytest.mark.lab_scenario("lossy.yaml")
def test_nothing_is_lost_or_counted_twice(lab_result):
    assert lab_result.verdict == "PASS"


@pytest.mark.lab_server(["redis-server", "--port", "6379", "--save", "", "--protected-mode", "no"], port=6379)
def test_a_transaction_is_whole(lab):
    host, port = lab.address(6379)
    with lab.fault("client<->server", Loss(every=7)):
        server = redis.Redis(host, port, socket_timeout=30)
        for _ in range(50):
            with server.pipeline(transaction=True) as both:
                both.incr("left").incr("right").execute()
    assert server.mget("left", "right") == [b"50", b"50"]
