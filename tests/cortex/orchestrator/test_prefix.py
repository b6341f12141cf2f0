"""Blocks of prompts, and who was sent them."""

import zlib

from hypothesis import given
from hypothesis import strategies as st

from helexa.cortex.orchestrator.prefix import (
    CONVERSATIONS_PER_READING,
    CUTS,
    HOLDERS_MAX,
    REALMS_MAX,
    Holder,
    PrefixIndex,
    Realms,
    blocks_of,
    holder_of,
    neuron_of,
)
from helexa.protocol.ids import NeuronId

A, B = holder_of(NeuronId("a"), 1), holder_of(NeuronId("b"), 7)
TEXT = zlib.compress(bytes(range(256)) * 64, 0) * 4


def blocks(size_bytes: int, seed: bytes = b"m") -> tuple[int, ...]:
    return blocks_of(memoryview(TEXT)[:size_bytes], seed)


def test_cuts_are_fine_at_the_beginning_and_few_in_all() -> None:
    assert CUTS[:2] == (256, 512)
    assert CUTS[-1] == 512 * 1024
    assert len(CUTS) == 104


def test_only_whole_blocks_are_hashed() -> None:
    assert blocks(255) == ()
    assert len(blocks(767)) == 2


def test_a_longer_prompt_begins_with_the_hashes_of_a_shorter_one() -> None:
    assert blocks(5000)[:8] == blocks(2048)


def test_a_difference_changes_all_hashes_behind_it() -> None:
    other = bytearray(TEXT)
    other[600] ^= 1
    changed = blocks_of(memoryview(other)[:4096], b"m")
    assert changed[:2] == blocks(4096)[:2]
    assert not set(changed[2:]) & set(blocks(4096)[2:])


def test_another_model_is_another_prompt() -> None:
    assert not set(blocks(4096)) & set(blocks(4096, b"other"))


def test_who_was_sent_a_prompt_is_found_with_how_much_of_it() -> None:
    index = PrefixIndex()
    index.note(blocks(2048), A)
    index.note(blocks(1024), B)
    assert index.holders(blocks(4096)) == {A: 2048, B: 1024}
    assert index.holders(blocks(4096, b"other")) == {}
    assert index.holders(()) == {}


def test_a_process_that_came_back_is_another_one() -> None:
    index = PrefixIndex()
    again = holder_of(NeuronId("a"), 2)
    index.note(blocks(1024), A)
    index.note(blocks(512), again)
    assert index.holders(blocks(1024)) == {A: 1024, again: 512}


def way(number: int, size_bytes: int = 2048) -> tuple[int, ...]:
    """Return the blocks of a prompt whose first 1024 bytes are common to all of them."""
    text = bytearray(TEXT[:size_bytes])
    text[1024] = number
    return blocks_of(text_of(text), b"m")


def text_of(text: bytearray) -> memoryview:
    return memoryview(bytes(text))


def test_what_many_conversations_begin_with_tells_of_nobody_until_one_more_has_read_it() -> None:
    index = PrefixIndex()
    for number in range(CONVERSATIONS_PER_READING):
        assert index.holders(way(number)) == ({A: 1024} if number else {})
        index.note(way(number), A)
    assert index.holders(way(100)) == {}
    assert index.holders(way(0, 3072)) == {A: 2048}, "a conversation is known all the same"
    index.note(way(100), B)
    assert index.holders(way(101)) == {A: 1024, B: 1024}
    assert index.holders(way(100, 3072)) == {B: 2048, A: 1024}


def test_a_conversation_that_goes_on_is_one_way_however_often_it_is_asked_again() -> None:
    index = PrefixIndex()
    for size in range(256, 8192, 256):
        for _ in range(CONVERSATIONS_PER_READING + 1):
            index.note(blocks(size), A)
        assert index.holders(blocks(size + 512)) == {A: CUTS[len(blocks(size)) - 1]}


def test_only_the_last_replicas_of_a_block_are_kept() -> None:
    index = PrefixIndex()
    for number in range(HOLDERS_MAX + 3):
        index.note(blocks(512), holder_of(NeuronId(f"n{number}"), 1))
    kept = [neuron_of(holder) for holder in index.holders(blocks(512))]
    assert kept == [f"n{n}" for n in range(3, HOLDERS_MAX + 3)]


def test_the_depth_of_what_was_sent_longest_ago_is_forgotten_first() -> None:
    index = PrefixIndex(blocks_max=12)
    index.note(blocks(2048), A)
    index.note(blocks(2048, b"other"), B)
    assert index.holders(blocks(2048)) == {A: 1024}
    assert index.holders(blocks(2048, b"other")) == {B: 2048}


def test_who_knows_less_is_found_at_half_the_depth_or_a_quarter() -> None:
    index = PrefixIndex()
    index.note(blocks(8192), A)
    index.note(blocks(2560), B)
    assert index.holders(blocks(8192)) == {A: 8192, B: CUTS[4]}


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9000), st.binary(max_size=1)), max_size=40
    ),
    st.integers(1, 50),
)
def test_it_never_grows_past_its_bounds_and_never_tells_of_what_was_not_sent(
    steps: list[tuple[int, int, bytes]], blocks_max: int
) -> None:
    index = PrefixIndex(blocks_max)
    most: dict[tuple[Holder, bytes], int] = {}
    for who, size, seed in steps:
        neuron = holder_of(NeuronId(f"n{who}"), 1)
        index.note(blocks(size, seed), neuron)
        most[neuron, seed] = max(most.get((neuron, seed), 0), size)
        assert len(index) <= blocks_max
        for found, size_bytes in index.holders(blocks(9000, seed)).items():
            assert size_bytes <= most[found, seed]


# ── whose prompts ─────────────────────────────────────────────────────────────────────────────


def hashes(realms: Realms, tenant: str, text: bytes = TEXT) -> set[int]:
    return set(blocks_of(memoryview(text), b"m", realms.of(tenant)))


def test_the_same_prompt_of_two_tenants_has_no_hash_in_common() -> None:
    """S33: whoever guesses another one's prompt is not sent to where that was read."""
    realms = Realms(b"secret")
    assert hashes(realms, "alice") == hashes(realms, "alice")
    assert not hashes(realms, "alice") & hashes(realms, "bob")
    index = PrefixIndex()
    index.note(blocks_of(memoryview(TEXT), b"m", realms.of("alice")), A)
    assert index.holders(blocks_of(memoryview(TEXT), b"m", realms.of("bob"))) == {}


def test_no_prompt_at_all_can_be_taken_for_one_of_another_tenant() -> None:
    """The upper bits are the tenant's, whatever the text is."""
    realms = Realms(b"secret")
    tags = [{value >> 32 for value in hashes(realms, who)} for who in ("alice", "bob")]
    assert [len(each) for each in tags] == [1, 1]
    assert tags[0] != tags[1]
    assert all(value < 1 << 60 for value in hashes(realms, "alice"))


def test_hashes_cannot_be_told_without_the_secret() -> None:
    assert not hashes(Realms(b"one"), "alice") & hashes(Realms(b"another"), "alice")


def test_tenants_may_share_their_prompts() -> None:
    realms = Realms(b"secret", shared=True)
    assert hashes(realms, "alice") == hashes(realms, "bob")


def test_very_many_tenants_fill_no_memory_and_keep_their_realms() -> None:
    realms = Realms(b"secret")
    first = realms.of("0")
    made = {realms.of(str(number)) for number in range(2 * REALMS_MAX)}
    assert len(made) == 2 * REALMS_MAX
    assert len(realms._known) == REALMS_MAX
    assert realms.of("0") == first
