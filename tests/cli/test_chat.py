"""`helexa chat`."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Helexa, Ran
from tests.fakes.http_answers import Answer, AnswerServer, Asked, events, token
from tests.fakes.waiting import until_blocking

ROOT = Path(__file__).parents[2]
CHAT = "POST /v1/chat/completions"
Chat = Callable[..., Ran]


@pytest.fixture
def chat(helexa: Helexa, server: AnswerServer) -> Chat:
    server["GET /v1/models"] = Answer({"data": [{"id": "small"}]})

    def echo(asked: Asked) -> Answer:
        return events(
            token(asked.body["model"] + ": "), token(asked.body["messages"][-1]["content"])
        )

    server[CHAT] = echo
    return lambda *arguments, **more: helexa(
        "chat", "--base-url", f"{server.base}/v1", *arguments, **more
    )


def test_a_prompt_is_answered_once_on_standard_output(chat: Chat) -> None:
    ran = chat("why", "not")
    assert (ran.status, ran.out, ran.err) == (0, "small: why not\n", "")


def test_piped_text_follows_the_prompt(chat: Chat) -> None:
    assert chat(given="a\nb\n").out == "small: a\nb\n"
    assert chat("Summarise:", given="text\n").out == "small: Summarise:\n\ntext\n"


def test_model_and_key_are_sent(chat: Chat, server: AnswerServer, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-test\n")
    key.chmod(0o600)
    ran = chat("-m", "big", "--api-key-file", key, "--system", "be kind", "x")
    assert ran.out == "big: x\n"
    assert server.asked[0].headers["authorization"] == "Bearer sk-test"
    assert server.asked[0].body["messages"][0] == {"role": "system", "content": "be kind"}
    key.chmod(0o644)
    assert "chmod 600" in chat("--api-key-file", key, "x").err


def test_json_holds_the_answer_and_what_it_cost(chat: Chat) -> None:
    told = json.loads(chat("x", "-o", "json").out)
    assert told["content"] == "small: x"
    assert set(told) == {"model", "content", "finish_reason", "prompt_tokens", "completion_tokens",
                         "first_token_s", "total_s"}  # fmt: skip


def test_numbers_are_told_on_standard_error_when_asked_for(chat: Chat) -> None:
    ran = chat("x", "--stats")
    assert ran.out == "small: x\n"
    assert "tokens in" in ran.err


def test_a_cut_answer_shows_what_came_and_fails(chat: Chat, server: AnswerServer) -> None:
    server[CHAT] = events(token("half of"), done=False)
    ran = chat("x")
    assert ran.status == 1
    assert ran.out == "half of\n"
    assert ran.err.startswith("error[HX-0704]: the answer was cut")


def test_a_gateway_that_is_not_there_is_exit_5_with_a_hint(helexa: Helexa) -> None:
    ran = helexa("chat", "--base-url", "http://127.0.0.1:1/v1", "x")
    assert ran.status == 5
    assert "helexa up" in ran.err


class Terminal:
    """`helexa chat` on a terminal of its own."""

    def __init__(self, server: AnswerServer, folder: Path) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "helexa", "chat", "--base-url", f"{server.base}/v1"],
            stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, start_new_session=True,
            env={"PYTHONPATH": "src", "PATH": os.environ["PATH"], "HOME": str(folder)},
        )  # fmt: skip
        os.close(slave)
        os.set_blocking(self._master, False)
        self.text = ""

    def says(self, text: str) -> None:
        """Wait until `text` is shown, and forget what came before it."""

        def shown() -> bool:
            with contextlib.suppress(OSError):  # nothing there yet
                self.text += os.read(self._master, 65536).decode()
            return text in self.text

        until_blocking(shown, f"the terminal shows {text!r}, not {self.text!r}")
        self.text = self.text.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


def test_a_conversation_is_held_on_a_terminal(
    chat: Chat, server: AnswerServer, tmp_path: Path
) -> None:
    terminal = Terminal(server, tmp_path)
    try:
        terminal.says("small at http://127.0.0.1")
        terminal.says("> ")
        terminal.type("hello\n")
        terminal.says("small: hello")
        terminal.type("/model big\n")
        terminal.says("model: big")
        terminal.type("/stats\n")
        terminal.says("tokens in")
        terminal.type("/nonsense\n")
        terminal.says("no such command: /nonsense")
        server[CHAT] = Answer({"error": {"message": "busy"}}, 429)
        terminal.type("again\n")
        terminal.says("busy")
        server[CHAT] = events(token("esc\x1b[2Jape"))
        terminal.type("once more\n")
        terminal.says("esc�[2Jape")
        terminal.type("\x04")
        assert terminal.process.wait(20) == 0
    finally:
        terminal.close()
    turns = [message["content"] for message in server.asked[-1].body["messages"]]
    assert turns == ["hello", "small: hello", "once more"]
