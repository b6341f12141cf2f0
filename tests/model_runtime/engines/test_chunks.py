import msgspec
import pytest

from helexa.model_runtime.engines.chunks import Delta, decode_chunk


def test_a_plain_chunk_has_one_choice_and_no_extras():
    assert decode_chunk(b'{"id":"a","choices":[{"index":0,"delta":{"content":"x"}}]}').is_plain
    assert not decode_chunk(b'{"choices":[]}').is_plain
    for extra in ('"usage":{}', '"timings":{}', '"prompt_progress":{}', '"error":{}'):
        assert not decode_chunk(f'{{"choices":[{{}}],{extra}}}'.encode()).is_plain


def test_a_chunk_in_an_engines_own_spelling_is_not_plain():
    for delta in ('{"role":"assistant","content":null}', '{"reasoning":"hm"}'):
        assert not decode_chunk(f'{{"choices":[{{"delta":{delta}}}]}}'.encode()).is_plain
    assert decode_chunk(b'{"choices":[{"text":"x"}]}').is_plain


def test_a_role_alone_is_no_part_of_an_answer():
    assert Delta(role="assistant", content="").is_first_of_nothing()
    assert not Delta(content="x").is_first_of_nothing()
    assert not Delta(reasoning="hm").is_first_of_nothing()
    assert not Delta(tool_calls=[{}]).is_first_of_nothing()


@pytest.mark.parametrize("bad", [b'{"choices":7}', b'{"choices":[{"delta":1}]}', b'{"id":[]}'])
def test_a_wrong_shape_is_told_apart(bad):
    with pytest.raises(msgspec.ValidationError):
        decode_chunk(bad)
