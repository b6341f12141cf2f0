"""A small HTTP server that answers what a test tells it to, and remembers what it was asked."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Answer:
    """What to answer. `cut` ends the connection where more was announced."""

    body: bytes | str | dict[str, Any] | list[Any]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class AnswerServer:
    """Answers by `METHOD /path`; a callable is called with what was asked."""

    answers: dict[str, Answer | Callable[[Asked], Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __setitem__(self, name: str, answer: Answer | Callable[[Asked], Answer]) -> None:
        self.answers[name] = answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    told: AnswerServer

    def _handle(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        raw = self.rfile.read(length)
        names = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, names, json.loads(raw) if raw else None)
        self.told.asked.append(asked)
        found = self.told.answers.get(f"{self.command} {self.path}")
        answer = found(asked) if callable(found) else found or Answer({"error": "no route"}, 404)
        body = answer.body if isinstance(answer.body, bytes) else (
            answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        ).encode()  # fmt: skip
        self.send_response(answer.status)
        usual = {} if isinstance(answer.body, str | bytes) else {"content-type": "application/json"}
        for name, value in {**usual, **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("connection", "close")
        self.send_header("content-length", str(len(body) + (100 if answer.cut else 0)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    do_GET = do_POST = _handle  # noqa: N815  (names that the library asks for)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def answering(**answers: Answer) -> Iterator[AnswerServer]:
    """Run an answer server for the length of the block."""
    told = AnswerServer(dict(answers))
    handler = type("Handler", (_Handler,), {"told": told})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        told.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


def events(*payloads: Any, done: bool = True) -> Answer:
    """Return an SSE answer with these payloads; without `[DONE]` where not `done`."""
    texts = [p if isinstance(p, str) else json.dumps(p) for p in payloads]
    text = ": hello\n\n" + "".join(f"data: {t}\n\n" for t in texts)
    return Answer(
        text + ("data: [DONE]\n\n" if done else ""), 200, {"content-type": "text/event-stream"}
    )


def token(text: str, **more: Any) -> dict[str, Any]:
    """Return a chat chunk that carries `text`."""
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}
