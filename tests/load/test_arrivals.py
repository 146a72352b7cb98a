"""The open-model generator: what it counts where the service hangs, and what it sends."""

import json
import socketserver
import threading
import time

import pytest

from tests.load.arrivals import Arrivals
from tests.load.latency import Latency

HANGS_SECONDS = 0.4
BODY = json.dumps({"success": True}).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Server(socketserver.ThreadingTCPServer):
    """Answers on any connection, at once; first of all it hangs for so many seconds."""

    daemon_threads = True
    request_queue_size = 100
    answer = ANSWER
    hangs_seconds = hangs_until = 0.0

    class RequestHandlerClass(socketserver.BaseRequestHandler):
        def handle(self):
            while self.request.recv(4096):
                self.server.hang()
                self.request.sendall(self.server.answer)

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.RequestHandlerClass)

    def hang(self):
        """Until it is over for all that have called."""
        if self.hangs_seconds and not self.hangs_until:
            self.hangs_until = time.monotonic() + self.hangs_seconds
        time.sleep(max(0.0, self.hangs_until - time.monotonic()))


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def arrivals(server):
    host, port = server.server_address
    generator = Arrivals(f"http://{host}:{port}")
    yield generator
    generator.close()


@pytest.mark.measured
def test_calls_arrive_at_the_rate_and_each_is_answered(arrivals):
    seen = arrivals.measure([b"GET / HTTP/1.1\r\n\r\n"], 500, 0.5)

    assert 150 < seen.latency.count < 350  # 250 on average, at random
    assert seen.latency.count == seen.from_sending.count


@pytest.mark.measured
def test_calls_that_could_not_be_sent_while_the_service_hung_have_waited_too(arrivals, server):
    server.hangs_seconds = HANGS_SECONDS
    seen = arrivals.measure([b"GET / HTTP/1.1\r\n\r\n"], 500, HANGS_SECONDS + 0.1)

    # Two hundred calls fall due meanwhile, on 64 connections: most of them are never seen by a closed loop.
    assert seen.latency.percentile_ms(50) > 50
    assert seen.from_sending.percentile_ms(50) < 50


def test_refused_call_ends_the_measurement(arrivals, server):
    server.answer = ANSWER.replace(b"200 OK", b"429 Too Many Requests")

    with pytest.raises(RuntimeError, match="429"):
        arrivals.measure([b"GET / HTTP/1.1\r\n\r\n"], 100, 0.2)


def test_latency_keeps_three_digits_and_goes_through_text():
    latency = Latency.decode(Latency(value / 1000 for value in range(1, 1001)).encode())

    assert latency.count == 1000
    assert latency.percentile_ms(50) == pytest.approx(500, rel=0.002)
    assert latency.percentile_ms(99.9) == pytest.approx(999, rel=0.002)
    assert Latency.merged([latency, latency]).count == 2000
