"""Which class of work a request is."""

import pytest

from helexa.cortex.gateway.classify import BulkThresholds, workload_class
from helexa.protocol.dialects.openai import RequestHead, read
from helexa.protocol.workload import Operation, WorkloadClass

BULK = BulkThresholds(prompt_tokens=1000, tokens_max=500)
CHAT = Operation.CHAT


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (RequestHead(CHAT, "m"), WorkloadClass.CHAT_INTERACTIVE),
        (RequestHead(Operation.COMPLETION, "m"), WorkloadClass.CHAT_INTERACTIVE),
        (RequestHead(Operation.EMBEDDINGS, "m"), WorkloadClass.EMBEDDING),
        (RequestHead(CHAT, "m", vision=True), WorkloadClass.VISION_CAPTION),
        (RequestHead(CHAT, "m", vision=True, tokens_max=500), WorkloadClass.VISION_CAPTION),
    ],
)
def test_a_request_has_its_class(head: RequestHead, expected: WorkloadClass) -> None:
    """R1.31, R1.32."""
    assert workload_class(head, BULK) is expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (RequestHead(CHAT, "m", tokens_max=499), WorkloadClass.CHAT_INTERACTIVE),
        (RequestHead(CHAT, "m", tokens_max=500), WorkloadClass.CHAT_BULK),
        (RequestHead(CHAT, "m", tokens_max=500, stream=True), WorkloadClass.CHAT_INTERACTIVE),
        (RequestHead(CHAT, "m", prompt_tokens_min=249), WorkloadClass.CHAT_INTERACTIVE),
        (RequestHead(CHAT, "m", prompt_tokens_min=250), WorkloadClass.CHAT_BULK),
        (RequestHead(CHAT, "m", prompt_tokens_min=250, stream=True), WorkloadClass.CHAT_BULK),
        (RequestHead(Operation.COMPLETION, "m", tokens_max=500), WorkloadClass.CHAT_BULK),
    ],
)
def test_a_long_prompt_or_much_room_for_an_answer_is_bulk_work(
    head: RequestHead, expected: WorkloadClass
) -> None:
    """R2.33: a prompt's tokens are guessed at four characters each."""
    assert workload_class(head, BULK) is expected


def test_the_size_of_a_prompt_is_taken_from_its_body() -> None:
    """R2.33."""
    body = b'{"model":"m","messages":[{"role":"user","content":"%s"}]}' % (b"x" * 4000)
    head = read(CHAT, body)
    assert isinstance(head, RequestHead)
    assert workload_class(head, BULK) is WorkloadClass.CHAT_BULK


def test_bulk_has_one_name_and_the_roadmaps_as_alias() -> None:
    """R2.33, F17."""
    assert WorkloadClass("ChatBatch") is WorkloadClass("ChatBulk") is WorkloadClass.CHAT_BULK
