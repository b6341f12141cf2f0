"""Which class of work a request is."""

import pytest

from helexa.cortex.gateway.classify import workload_class
from helexa.protocol.dialects.openai import RequestHead
from helexa.protocol.workload import Operation, WorkloadClass


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (RequestHead(Operation.CHAT, "m"), WorkloadClass.CHAT_INTERACTIVE),
        (RequestHead(Operation.COMPLETION, "m"), WorkloadClass.CHAT_INTERACTIVE),
        (RequestHead(Operation.EMBEDDINGS, "m"), WorkloadClass.EMBEDDING),
        (RequestHead(Operation.CHAT, "m", vision=True), WorkloadClass.VISION_CAPTION),
    ],
)
def test_a_request_has_its_class(head: RequestHead, expected: WorkloadClass) -> None:
    """R1.31, R1.32."""
    assert workload_class(head) is expected
