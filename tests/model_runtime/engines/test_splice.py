"""The seam between two parts of one stream."""

from helexa.model_runtime.engines.chunks import Delta
from helexa.model_runtime.engines.splice import Splice
from helexa.model_runtime.engines.stream import AnswerPlan, StreamTranslation
from helexa.protocol.inference import Continued, Usage
from tests.fakes import llama_stream as ls


def continued(overlap: str = "", tokens: int = 4) -> Continued:
    return Continued(id="first", created=7, completion_tokens=tokens, overlap=overlap)


def test_chunks_get_the_id_and_time_of_the_stream() -> None:
    fields = {"id": "x", "created": 1, "model": "m"}
    Splice(continued()).mark(fields)
    assert fields == {"id": "first", "created": 7, "model": "m"}


def test_spaces_that_the_caller_has_are_taken_off_over_several_pieces() -> None:
    splice = Splice(continued("   "))
    told = []
    for piece in (" ", "  ", " x", " y"):
        delta = Delta(content=piece)
        fields = {"content": piece}
        splice.strip(delta, fields)
        assert delta.content == fields["content"]
        told.append(delta.content)
    assert told == ["", "", " x", " y"]


def test_nothing_is_taken_off_past_a_letter_that_differs() -> None:
    splice = Splice(continued("  "))
    delta = Delta(content="x")
    assert not splice.strip(delta, {"content": "x"})
    later = Delta(content=" y")
    assert not splice.strip(later, {"content": " y"})
    assert later.content == " y"


def test_the_role_is_told_once_in_a_stream_and_a_piece_that_comes_with_it_stays() -> None:
    delta, fields = Delta(role="assistant", content="x"), {"role": "assistant", "content": "x"}
    assert Splice(continued()).strip(delta, fields)
    assert fields == {"content": "x"}


def test_the_usage_that_a_caller_sees_is_of_the_whole_stream_and_the_neurons_of_its_part() -> None:
    plan = AnswerPlan(chat=True, include_usage=True, continues=continued(tokens=4))
    out, ending = ls.translate(StreamTranslation(plan), ls.chat("Hi", " there"))
    assert ending.usage == Usage(prompt_tokens=32, completion_tokens=2, cached_tokens=24)
    told = ls.payloads(out)[-2]
    assert (told["id"], told["created"]) == ("first", 7)
    assert told["usage"]["prompt_tokens"] == 28
    assert told["usage"]["completion_tokens"] == 6
    assert told["usage"]["total_tokens"] == 34
    assert b'"role"' not in out


def test_a_piece_of_which_nothing_is_left_is_not_told() -> None:
    plan = AnswerPlan(chat=True, continues=continued("  "))
    out, _ = ls.translate(StreamTranslation(plan), ls.chat(" ", " ", "x"))
    assert [chunk["choices"][0]["delta"] for chunk in ls.payloads(out)[:-1]] == [
        {"content": "x"},
        {},
    ]
