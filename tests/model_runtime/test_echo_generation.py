import asyncio
import json

from helexa.model_runtime.echo_answer import Answer, Faults, read_prompt
from helexa.model_runtime.echo_generation import Generation, Server
from helexa.model_runtime.echo_text import expected_text
from tests.fakes.llama_stream import said
from tests.fakes.waiting import until


class Sink:
    """Where an answer goes: the bytes of its chunks, without their framing."""

    def __init__(self) -> None:
        self.raw = b""
        self.body = b""
        self.ended = False

    def begin_stream(self) -> None:
        assert self.raw == b""

    def write(self, data: bytes) -> None:
        self.raw += data

    def reply_body(self, body: bytes) -> None:
        self.body = body

    def generation_ended(self) -> None:
        self.ended = True

    def stream(self) -> bytes:
        out, rest = b"", self.raw
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            out, rest = out + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return out


def begin(fields, **faults):
    server, sink = Server(Faults(**faults), "echo", ""), Sink()
    prompt = read_prompt(json.dumps(fields).encode(), server.faults)
    answer = Answer(prompt, "r", "echo", chat=True)
    generation = Generation(sink, server, answer, asyncio.get_running_loop())
    generation.start()
    return server, sink, generation


async def test_an_unpaced_stream_is_whole_and_counted():
    server, sink, _ = begin({"messages": [], "max_tokens": 500, "stream": True})
    assert server.active == 1
    await until(lambda: sink.ended, "the answer ends")
    assert said(sink.stream()) == expected_text("r", 500)
    assert (server.active, server.finished, server.aborted) == (0, 1, 0)


async def test_a_paced_stream_says_the_same():
    fields = {"messages": [], "max_tokens": 20, "stream": True}
    _, sink, _ = begin(fields, tokens_per_second=2000.0)
    await until(lambda: sink.ended, "the answer ends")
    assert said(sink.stream()) == expected_text("r", 20)


async def test_a_slow_reader_stops_it_and_nothing_is_lost():
    server, sink, generation = begin({"messages": [], "max_tokens": 1000, "stream": True})
    await until(lambda: b"content" in sink.raw, "it speaks")
    generation.pause()
    said_so_far = sink.raw
    for _ in range(20):
        await asyncio.sleep(0)
    assert sink.raw == said_so_far
    generation.resume()
    await until(lambda: sink.ended, "the answer ends")
    assert said(sink.stream()) == expected_text("r", 1000)
    assert server.finished == 1


async def test_a_caller_that_leaves_is_counted_once_and_gets_nothing_more():
    server, sink, generation = begin({"messages": [], "max_tokens": 1 << 20, "stream": True})
    generation.abort()
    generation.abort()
    sent = sink.raw
    for _ in range(20):
        await asyncio.sleep(0)
    generation.resume()
    await asyncio.sleep(0)
    assert sink.raw == sent
    assert (server.active, server.aborted, server.finished) == (0, 1, 0)


async def test_a_stalled_stream_neither_speaks_nor_ends():
    server, sink, generation = begin(
        {"messages": [], "max_tokens": 9, "stream": True}, stall_at_token=2
    )
    await until(lambda: said(sink.stream()) == expected_text("r", 2), "two tokens are out")
    for _ in range(50):
        await asyncio.sleep(0)
    assert said(sink.stream()) == expected_text("r", 2)
    assert server.active == 1
    generation.abort()
    assert server.active == 0


async def test_a_truncated_stream_ends_without_its_end_mark():
    _, sink, _ = begin({"messages": [], "max_tokens": 9, "stream": True}, truncate_at_token=3)
    await until(lambda: sink.ended, "the body ends")
    assert said(sink.stream()) == expected_text("r", 3)
    assert b"[DONE]" not in sink.raw
    assert b'finish_reason":"' not in sink.raw


async def test_an_answer_that_is_not_streamed_comes_whole_or_broken():
    _, sink, _ = begin({"messages": [], "max_tokens": 3})
    await until(lambda: sink.ended, "the answer ends")
    assert json.loads(sink.body)["choices"][0]["message"]["content"] == expected_text("r", 3)
    for fault in ({"truncate_at_token": 1}, {"garbage_at_token": 1}):
        _, broken, _ = begin({"messages": [], "max_tokens": 3}, **fault)
        await until(lambda b=broken: b.ended, "the answer ends")
        assert not broken.body.endswith(b"}")


async def test_stats_remember_a_bounded_number_of_requests():
    server = Server(Faults(), "echo", "")
    for number in range(10_000):
        server.request_ids.append(str(number))
    assert len(server.stats()["request_ids"]) == 4096


async def test_a_write_that_fills_the_connection_pauses_it_at_once():
    server, sink, generation = begin({"messages": [], "max_tokens": 1000, "stream": True})
    write = sink.write

    def write_and_pause(data: bytes) -> None:
        write(data)
        generation.pause()

    sink.write = write_and_pause
    await until(lambda: sink.raw.count(b"content") > 1, "it says its first tokens")
    said_so_far = sink.raw
    for _ in range(20):
        await asyncio.sleep(0)
    assert sink.raw == said_so_far
    assert server.active == 1
    sink.write = write
    generation.resume()
    await until(lambda: sink.ended, "the answer ends")
    assert said(sink.stream()) == expected_text("r", 1000)
