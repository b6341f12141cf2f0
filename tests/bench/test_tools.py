"""The bench's tools in C: every mode runs, and a stream that is not whole is never called so."""

import contextlib
import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.processes import PinnedProcess, free_port
from bench.targets import request
from bench.tools import Tools, build_tools, find_compiler, run_load

EVENTS = 5
MEASURE_S = 0.3

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or find_compiler() is None,
    reason="the tools need epoll and a C compiler",
)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return build_tools(tmp_path_factory.mktemp("bench-build"))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.01)


def is_healthy(port: int) -> bool:
    try:
        return request(port, "GET", "/health")[0] == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def mock_port(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    log = tmp_path_factory.mktemp("mock") / "mock.log"
    mock = PinnedProcess("mock", [str(tools.mock), "--port", str(port)], core=None, log=log)
    try:
        wait_for(lambda: is_healthy(port))
        yield port
    finally:
        mock.stop()


def load(tools: Tools, port: int, *options: str) -> dict[str, Any]:
    times = (f"--duration={MEASURE_S}", "--warmup=0.1", "--grace=30")
    run = run_load([str(tools.load), f"--port={port}", *times, *options])
    return {**run.report, "notes": run.notes}


def assert_no_faults(report: dict[str, Any]) -> None:
    assert report["complete"] > 0
    faults = ("refused", "incomplete", "broken", "unfinished", "unsent")
    assert {name: report[name] for name in faults} == dict.fromkeys(faults, 0)


def assert_percentiles_rise(percentiles: dict[str, float]) -> None:
    in_order = [percentiles[name] for name in ("p50", "p90", "p99", "max")]
    assert in_order == sorted(in_order)
    assert in_order[0] > 0


# ---- the mock -------------------------------------------------------------------------------


def test_the_mock_lists_its_model(mock_port: int) -> None:
    status, body = request(mock_port, "GET", "/v1/models")
    assert status == 200
    assert [model["id"] for model in json.loads(body)["data"]] == ["m1"]


def test_the_mock_answers_a_chat_with_one_json_object(mock_port: int) -> None:
    status, body = request(mock_port, "POST", "/v1/chat/completions", {"model": "m1"})
    assert status == 200
    assert json.loads(body)["usage"]["total_tokens"] == 264


@pytest.mark.parametrize("pace_us", [0, 1000])
def test_the_mock_streams_as_many_events_as_asked(mock_port: int, pace_us: int) -> None:
    chat = {"model": "m1", "stream": True, "max_tokens": EVENTS, "seed": pace_us}
    status, body = request(mock_port, "POST", "/v1/chat/completions", chat)
    assert status == 200
    events = body.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    texts = [chunk["choices"][0]["delta"]["content"] for chunk in chunks[:EVENTS]]
    sent_ns = [int(text[1:20]) for text in texts]
    assert [text[20:] for text in texts] == [f"#{index:06d} token" for index in range(EVENTS)]
    assert sent_ns == sorted(sent_ns)
    assert all(sent_ns) == (pace_us > 0)
    assert chunks[EVENTS]["choices"][0]["finish_reason"] == "stop"
    assert chunks[EVENTS + 1]["usage"]["completion_tokens"] == EVENTS


def test_the_mock_keeps_the_connection_until_told_to_close(mock_port: int) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", mock_port, 5)) as connection:
        for headers in ({}, {}, {"Connection": "close"}):
            connection.request("POST", "/v1/chat/completions", b"{}", headers)
            used = connection.sock
            assert connection.getresponse().read()
        assert used.recv(1) == b""


def test_the_mock_answers_requests_sent_back_to_back(mock_port: int) -> None:
    one = b"GET /health HTTP/1.1\r\nHost: mock\r\n\r\n"
    last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with socket.create_connection(("127.0.0.1", mock_port), 5) as connection:
        connection.sendall(one + one + last)
        assert read_to_end(connection).count(b"HTTP/1.1 200 OK") == 3


def read_to_end(connection: socket.socket) -> bytes:
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


# ---- the load tool, each mode ---------------------------------------------------------------


def test_a_closed_loop_counts_whole_answers(tools: Tools, mock_port: int) -> None:
    report = load(tools, mock_port, "--connections=4", "--body-bytes=20000")
    assert_no_faults(report)
    assert report["mode"] == "closed"
    assert report["requests"] > 0
    assert_percentiles_rise(report["latency_us"])


def test_a_burst_of_streams_arrives_whole(tools: Tools, mock_port: int) -> None:
    report = load(tools, mock_port, "--connections=8", "--stream", "--events=128")
    assert_no_faults(report)
    assert report["events"] == 128 * report["complete"]
    assert_percentiles_rise(report["first_event_us"])
    assert report["relay_us"]["p50"] is None  # events built ahead bear no time


def test_paced_streams_tell_the_relay_latency(tools: Tools, mock_port: int) -> None:
    pace = ("--events=20", "--pace-us=2000")
    report = load(tools, mock_port, "--connections=8", "--stream", *pace)
    assert_no_faults(report)
    assert report["events"] == 20 * report["complete"]
    assert_percentiles_rise(report["relay_us"])


def test_an_open_loop_sends_all_that_is_due(tools: Tools, mock_port: int) -> None:
    report = load(tools, mock_port, "--connections=4", "--rate=1000")
    assert_no_faults(report)
    assert report["mode"] == "open"
    assert report["complete"] in (400, 401)  # 0.1 s of warm-up and 0.3 s at 1,000 a second


def test_an_open_loop_counts_latency_from_when_a_request_was_due(
    tools: Tools, mock_port: int
) -> None:
    # One connection can serve one stream of 50 ms at a time; one falls due every 10 ms.
    pace = ("--stream", "--events=5", "--pace-us=10000", "--rate=100")
    report = load(tools, mock_port, *pace)
    assert_no_faults(report)
    assert report["complete"] in (40, 41)
    assert report["latency_us"]["max"] > 1_000_000  # nobody waited less for being asked less


def test_held_streams_stay_open_and_end_with_the_tool(tools: Tools, mock_port: int) -> None:
    before = json.loads(request(mock_port, "GET", "/stats")[1])
    seen_open = []

    def while_holding() -> None:
        seen_open.append(json.loads(request(mock_port, "GET", "/stats")[1])["open"])

    options = ["--hold", "--connections=200", "--pace-us=1000000", "--events=100", "--duration=0.5"]
    run = run_load([str(tools.load), f"--port={mock_port}", *options], on_holding=while_holding)
    assert run.report["holding"] == 200
    assert run.report["events"] >= 200
    assert seen_open == [200]

    def all_dropped() -> bool:
        after = json.loads(request(mock_port, "GET", "/stats")[1])
        dropped: int = after["dropped"] - before["dropped"]
        return after["open"] == 0 and dropped == 200

    wait_for(all_dropped)


def test_wrong_options_are_refused(tools: Tools) -> None:
    with pytest.raises(Exception, match="--port is missing"):
        run_load([str(tools.load)])


# ---- the load tool against a server that misbehaves -----------------------------------------


class ScriptedServer:
    """Answers every request on every connection with the same pieces of bytes, then closes."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "ScriptedServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = b""
        while not asked.endswith(b"}"):
            piece = connection.recv(65536)
            if not piece:
                return
            asked += piece
        for piece in self._pieces:
            connection.sendall(piece)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
USAGE = b'data: {"choices":[],"usage":{"completion_tokens":%d}}\n\n' % EVENTS
DONE = b"data: [DONE]\n\n"
CONTENTS = [
    b'data: {"choices":[{"delta":{"content":"@%019d#%06d token"}}]}\n\n' % (0, index)
    for index in range(EVENTS)
]
WHOLE = [*CONTENTS, USAGE, DONE]


def chunked(*events: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)


def stream_from(tools: Tools, *pieces: bytes) -> dict[str, Any]:
    with ScriptedServer(*pieces) as server:
        return load(tools, server.port, "--stream", f"--events={EVENTS}")


DEFECTS = {
    "cut after two events": chunked(*CONTENTS[:2]),
    "cut inside an event": chunked(*CONTENTS[:2])[:-9],
    "cut before the last chunk": chunked(*WHOLE),
    "without [DONE]": chunked(*CONTENTS, USAGE) + LAST_CHUNK,
    "without usage": chunked(*CONTENTS, DONE) + LAST_CHUNK,
    "with a wrong usage": chunked(*CONTENTS, USAGE.replace(b"5", b"4"), DONE) + LAST_CHUNK,
    "one event lost": chunked(*CONTENTS[:1], *CONTENTS[2:], USAGE, DONE) + LAST_CHUNK,
    "last event lost": chunked(*CONTENTS[:-1], USAGE, DONE) + LAST_CHUNK,
    "one event twice": chunked(*CONTENTS[:1], *WHOLE) + LAST_CHUNK,
    "two events swapped": chunked(CONTENTS[1], CONTENTS[0], *WHOLE[2:]) + LAST_CHUNK,
    "with an error event": chunked(*CONTENTS, b'data: {"error":{}}\n\n', USAGE, DONE) + LAST_CHUNK,
    "content after [DONE]": chunked(*CONTENTS[:-1], USAGE, DONE, CONTENTS[-1]) + LAST_CHUNK,
    "without a blank line at the end": chunked(*WHOLE[:-1], DONE[:-1]) + LAST_CHUNK,
    "framed wrongly": chunked(*WHOLE) + b"not a size\r\n\r\n",
}


@pytest.mark.parametrize("body", DEFECTS.values(), ids=DEFECTS.keys())
def test_a_stream_that_is_not_whole_is_reported(tools: Tools, body: bytes) -> None:
    report = stream_from(tools, HEAD, body)
    assert report["complete"] == 0
    assert report["incomplete"] > 0


VARIANTS = {
    "as the mock sends it": [HEAD, chunked(*WHOLE) + LAST_CHUNK],
    "byte by byte": [
        bytes([byte])
        for byte in b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + chunked(*WHOLE) + LAST_CHUNK
    ],
    "events cut across chunks": [HEAD, chunked(*b"".join(WHOLE).partition(b"token")) + LAST_CHUNK],
    "CRLF and comments": [
        HEAD,
        chunked(b": alive\r\n\r\n", *(event.replace(b"\n", b"\r\n") for event in WHOLE)),
        LAST_CHUNK,
    ],
    "without chunks": [b"HTTP/1.1 200 OK\r\n\r\n", *WHOLE],
}


@pytest.mark.parametrize("pieces", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_whole_stream_is_whole_however_it_is_cut(tools: Tools, pieces: list[bytes]) -> None:
    report = stream_from(tools, *pieces)
    assert report["complete"] > 0
    assert report["incomplete"] == 0
    assert report["events"] == EVENTS * report["complete"]


def test_a_short_answer_is_incomplete(tools: Tools) -> None:
    with ScriptedServer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort") as server:
        report = load(tools, server.port)
    assert report["complete"] == 0
    assert report["incomplete"] > 0


def test_a_refusal_is_counted_and_quoted(tools: Tools) -> None:
    busy = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nbusy"
    with ScriptedServer(busy) as server:
        report = load(tools, server.port, "--stream")
    assert report["complete"] == 0
    assert report["refused"] > 0
    assert "first refusal: busy" in report["notes"]


def test_a_connection_that_ends_without_a_status_is_broken(tools: Tools) -> None:
    with ScriptedServer() as server:
        report = load(tools, server.port)
    assert report["complete"] == 0
    assert report["broken"] > 0


def test_an_answer_that_never_ends_is_unfinished(tools: Tools, mock_port: int) -> None:
    slow = ("--stream", "--events=100", "--pace-us=1000000", "--grace=0.2")
    report = load(tools, mock_port, *slow)
    assert (report["unfinished"], report["incomplete"], report["complete"]) == (1, 1, 0)


def test_a_compile_error_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.tools.COMPILER_FLAGS", ("-no-such-flag",))
    with pytest.raises(Exception, match="compiling load failed"):
        build_tools(tmp_path)
