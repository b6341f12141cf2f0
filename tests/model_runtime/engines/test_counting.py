import msgspec
import pytest

from helexa.model_runtime.engines.counting import (
    Timings,
    TokenCounter,
    UsageBody,
    find_usage,
    usage_json,
)
from helexa.protocol.inference import Usage


def test_timings_tell_prompt_cached_and_new_tokens():
    counter = TokenCounter()
    counter.add_timings(0, Timings(cache_n=35, prompt_n=1, predicted_n=4))
    assert counter.exact() == Usage(prompt_tokens=36, completion_tokens=4, cached_tokens=35)


def test_the_choices_of_one_prompt_share_its_prompt_tokens():
    counter = TokenCounter(choices_per_prompt=2)
    counter.add_timings(0, Timings(cache_n=0, prompt_n=10, predicted_n=3))
    counter.add_timings(1, Timings(cache_n=9, prompt_n=1, predicted_n=4))
    assert counter.exact() == Usage(prompt_tokens=10, completion_tokens=7)


def test_each_prompt_of_a_completion_counts():
    counter = TokenCounter()
    counter.add_timings(1, Timings(prompt_n=2, predicted_n=2))
    counter.add_timings(0, Timings(prompt_n=3, predicted_n=2))
    assert counter.exact() == Usage(prompt_tokens=5, completion_tokens=4)


def test_a_usage_object_counts_where_there_are_no_timings():
    counter = TokenCounter()
    assert counter.so_far() is None
    counter.report(UsageBody(prompt_tokens=3, completion_tokens=2))
    assert counter.so_far() == Usage(prompt_tokens=3, completion_tokens=2)


def test_a_cut_answer_is_counted_by_what_was_seen():
    counter = TokenCounter()
    counter.prompt_tokens_seen, counter.pieces = 32, 5
    assert counter.exact() is None
    assert counter.so_far() == Usage(prompt_tokens=32, completion_tokens=5)


def test_absurd_numbers_are_brought_into_range():
    body = msgspec.json.decode(
        b'{"prompt_tokens":-5,"completion_tokens":99999999999999999,'
        b'"prompt_tokens_details":{"cached_tokens":7},"completion_tokens_details":null}',
        type=UsageBody,
    )
    assert body.usage() == Usage(prompt_tokens=0, completion_tokens=1 << 40)


def test_sub_counts_are_told_only_when_there_are_any():
    """Lesson 50."""
    plain = usage_json(Usage(prompt_tokens=2, completion_tokens=3))
    assert plain == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    full = usage_json(
        Usage(prompt_tokens=2, completion_tokens=3, cached_tokens=1, reasoning_tokens=2)
    )
    assert full["prompt_tokens_details"] == {"cached_tokens": 1}
    assert full["completion_tokens_details"] == {"reasoning_tokens": 2}
    assert full["total_tokens"] == 5


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}', (1, 2)),
        (b'x"usage": {"prompt_tokens":1,"d":{"cached_tokens":1},"completion_tokens":2}}', (1, 2)),
        (b'{"usage":{"prompt_tokens":9,"completion_tokens":9}}\n{"usage":null}', (9, 9)),
        (b'{"usage":{"prompt_tokens":5,"total_tokens":5},"data":[]}', (5, 0)),
        (b'{"usage":null}', None),
        (b'{"usage":{"prompt_tokens":', None),
        (b'{"content":"\\"usage\\":{\\"prompt_tokens\\":7}"}', None),
        (b'{"usage":{"prompt_tokens":"x"}}', None),
        (b"", None),
        (b'"usage":{' * 50, None),
    ],
)  # fmt: skip
def test_usage_is_found_in_the_end_of_an_answer(text, found):
    usage = find_usage(text)
    assert (usage and (usage.prompt_tokens, usage.completion_tokens)) == found
