"""The echo engine's server: an OpenAI-like HTTP server without a model, as a process.

Run by path under `python -I`. One event loop, callbacks only, so that a thousand streams fit on a
shared core. `GET /stats` tells what it was asked and what was given up.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final, cast

import httptools
import msgspec
import uvloop

# `-I` keeps every other place off the path; this file knows where its own package is.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from helexa.model_runtime.echo_answer import Answer, Faults, Prompt, embeddings, read_prompt
from helexa.model_runtime.echo_generation import Generation, Server, die

BODY_BYTES_MAX: Final = 34 << 20
"""What a gateway takes, and what a neuron adds to it."""
_REASONS: Final = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}
_encode: Final = msgspec.json.Encoder().encode


class Connection(asyncio.Protocol):
    """One client connection; it answers one request after the other."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._generation: Generation | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop generating for a client that left."""
        self._transport = None
        if self._generation is not None:
            self._generation.abort()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a second request during an answer, or a bad one, ends the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._close()

    def eof_received(self) -> bool:
        """Take a half-closed connection for a client that left, as llama.cpp does."""
        return False

    def pause_writing(self) -> None:
        """The client reads slowly: generate no more for now."""
        if self._generation is not None:
            self._generation.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._generation is not None:
            self._generation.resume()

    # ── parser callbacks ──────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """Start a request."""
        if self._generation is not None:
            raise ValueError("a request came before the last one was answered")
        self._url, self._headers, self._body = b"", {}, bytearray()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body += body
        if len(self._body) > BODY_BYTES_MAX:
            raise ValueError("the body is too large")

    def on_message_complete(self) -> None:
        """Answer the request."""
        path = self._url.split(b"?")[0].decode("latin-1")
        server = self._server
        if path == "/health":
            loading = {"error": {"message": "Loading model", "code": 503}}
            self._reply(*((200, {"status": "ok"}) if server.ready else (503, loading)))
        elif path == "/stats":
            self._reply(200, server.stats())
        elif server.api_key and self._headers.get("authorization") != f"Bearer {server.api_key}":
            self._error(401, "Invalid API Key")
        elif path == "/v1/models":
            models = [{"id": server.model_id, "object": "model", "owned_by": "helexa"}]
            self._reply(200, {"object": "list", "data": models})
        elif self._parser.get_method() != b"POST" or not path.startswith("/v1/"):
            self._error(404, "File Not Found")
        else:
            self._infer(path.removeprefix("/v1/"))

    # ── inference ─────────────────────────────────────────────────────────────────────────────

    def _infer(self, route: str) -> None:
        server = self._server
        server.received += 1
        request_id = self._headers.get("x-request-id", "none")
        server.request_ids.append(request_id)
        prompt = read_prompt(bytes(self._body), server.faults)
        if isinstance(prompt, str):
            self._error(400, prompt)
            return
        if server.faults.crash_on_prompt and server.faults.crash_on_prompt in prompt.text:
            die()
        if server.faults.error_status is not None:
            self._error(server.faults.error_status, "told to fail")
        elif route == "embeddings":
            self._reply(200, embeddings(prompt, server.model_id))
            server.finished += 1
        elif route == "chat/completions/input_tokens":
            self._reply(200, {"input_tokens": len(prompt.text.split())})
        elif route in ("chat/completions", "completions"):
            self._generate(prompt, request_id, chat=route.startswith("chat"))
        else:
            self._error(404, "File Not Found")

    def _generate(self, prompt: Prompt, request_id: str, *, chat: bool) -> None:
        answer = Answer(prompt, request_id, self._server.model_id, chat=chat)
        if len(prompt.text.split()) > self._server.faults.context_tokens:
            self._error(400, "the prompt exceeds the available context size")
            return
        self._generation = Generation(self, self._server, answer, self._loop)
        self._generation.start()

    def generation_ended(self) -> None:
        """The current answer is complete: the next request may come."""
        self._generation = None
        if not self._parser.should_keep_alive():
            self._close()

    # ── writing ───────────────────────────────────────────────────────────────────────────────

    def begin_stream(self) -> None:
        """Send the head of a streamed answer."""
        self.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )

    def write(self, data: bytes) -> None:
        """Send bytes as they are, if the client is still there."""
        if self._transport is not None:
            self._transport.write(data)

    def reply_body(self, body: bytes) -> None:
        """Send a whole answer."""
        self._send_body(200, body)

    def _error(self, status: int, message: str) -> None:
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self._reply(status, {"error": {"code": status, "message": message, "type": kind}})

    def _reply(self, status: int, value: object) -> None:
        self._send_body(status, _encode(value))

    def _send_body(self, status: int, body: bytes) -> None:
        retry = b"retry-after: 1\r\n" if status in (429, 503) else b""
        reason = _REASONS.get(status, "Error").encode()
        self.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n%b"
            % (status, reason, retry, len(body), body)
        )
        if self._generation is None and not self._parser.should_keep_alive():
            self._close()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; exits with status 2 if it is wrong."""
    parser = argparse.ArgumentParser(prog="echo_server", allow_abbrev=False)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model-id", default="echo")
    parser.add_argument("--api-key-file")
    parser.add_argument("--tokens-per-second", type=float, default=0.0)
    parser.add_argument("--crash-on-prompt", default="")
    parser.add_argument("--garbage", default="invalid_utf8")
    for name, default in (
        ("first-token-delay-ms", 0),
        ("default-tokens", 16),
        ("context-tokens", 8192),
        ("start-delay-ms", 0),
        ("exit-on-start", None),
        ("error-status", None),
        ("stall-at-token", None),
        ("crash-at-token", None),
        ("garbage-at-token", None),
        ("truncate-at-token", None),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args(arguments)


async def serve(options: argparse.Namespace) -> None:
    """Listen on loopback until the process is ended; prints the address once."""
    loop = asyncio.get_running_loop()
    key = Path(options.api_key_file).read_text().strip() if options.api_key_file else ""  # noqa: ASYNC240
    names = Faults.__struct_fields__
    faults = Faults(**{name: getattr(options, name) for name in names})
    server = Server(faults, options.model_id, key)
    listener = await loop.create_server(lambda: Connection(server), "127.0.0.1", options.port)
    host, port = listener.sockets[0].getsockname()[:2]
    sys.stdout.write(f"listening on http://{host}:{port}\n")
    sys.stdout.flush()
    loop.call_later(options.start_delay_ms / 1000, lambda: server.become_ready(loop.time()))
    await listener.serve_forever()


def main(arguments: list[str]) -> int:
    """Serve; return the exit status."""
    options = parse(arguments)
    if options.exit_on_start is not None:
        sys.stderr.write(f"told to exit with status {options.exit_on_start}\n")
        return int(options.exit_on_start)
    uvloop.run(serve(options))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
