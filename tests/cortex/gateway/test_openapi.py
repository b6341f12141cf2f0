"""The description is valid, and names every route there is."""

from helexa.cortex.gateway.openapi import description
from helexa.cortex.gateway.routes import OPERATIONS
from helexa.protocol.errors import ErrorCode


def test_every_operation_and_every_error_code_is_described() -> None:
    document = description()
    assert document["openapi"] == "3.1.0"
    assert set(OPERATIONS) <= set(document["paths"])
    told = str(document["paths"]["/v1/chat/completions"]["post"]["responses"])
    assert all(code.value in told for code in ErrorCode)
