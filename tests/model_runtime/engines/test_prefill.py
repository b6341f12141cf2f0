from helexa.model_runtime.engines.chunks import Choice, Delta
from helexa.model_runtime.engines.prefill import EchoStripper, needs_token_texts

LONG = "The quick brown fox. " * 10


def choice(content, tokens=None, index=0):
    logprobs = None if tokens is None else {"content": [{"token": one} for one in tokens]}
    return Choice(index=index, delta=Delta(content=content), logprobs=logprobs)


def stripped(prefix, *choices):
    echo = EchoStripper(prefix)
    for one in choices:
        echo.strip(one)
    return [one.delta.content for one in choices]


def test_a_long_prefix_in_the_first_piece_is_an_echo():
    assert not needs_token_texts(LONG)
    assert stripped(LONG, choice(LONG + " And"), choice(" so")) == [" And", " so"]


def test_a_long_prefix_that_is_not_repeated_stays_out():
    assert stripped(LONG, choice(" And"), choice(LONG)) == [" And", LONG]


def test_a_short_prefix_is_an_echo_only_if_the_tokens_do_not_spell_it():
    assert needs_token_texts("1")
    assert stripped("1", choice("10", ["0"])) == ["0"]
    assert stripped("1", choice("10", ["10"])) == ["10"]
    assert stripped("ha", choice("haha", ["ha"])) == ["ha"]
    assert stripped("ha", choice("ha", ["ha"])) == ["ha"]


def test_a_short_prefix_without_token_texts_is_left_alone():
    assert stripped("1", choice("10")) == ["10"]
    assert stripped("1", Choice(delta=Delta(content="10"), logprobs="odd")) == ["10"]


def test_every_choice_is_stripped_once():
    first = [choice(LONG + "a"), choice(LONG + "b", index=1), choice(LONG + "c", index=1)]
    assert stripped(LONG, *first) == ["a", "b", LONG + "c"]


def test_a_piece_without_content_decides_nothing():
    echo = EchoStripper(LONG)
    assert not echo.strip(Choice(delta=Delta(role="assistant")))
    assert not echo.strip(Choice())
    assert echo.strip(choice(LONG + "x"))
