"""Frames that cannot be read become a fault to answer with, never an exception."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.protocol import codec
from helexa.protocol.control import ProtocolFault, RequestCapabilities


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b'{"kind":"from_the_future"}', "unknown_kind"),
        (b'{"kind":"heartbeat","sequence":"x"}', "malformed_message"),
        (b'{"kind":"register"}', "malformed_message"),
        (b"{}", "malformed_frame"),
        (b"not json", "malformed_frame"),
        (b"\xff\xfe", "malformed_frame"),
        (b"[" * 100_000, "malformed_frame"),
        (b" " * (codec.FRAME_BYTES_MAX + 1), "frame_too_large"),
    ],
)
def test_an_unreadable_frame_is_a_fault_with_a_code(frame: bytes, code: str) -> None:
    fault = codec.decode_from_neuron(frame)
    assert isinstance(fault, ProtocolFault)
    assert fault.code == code
    assert fault.message


def test_a_neurons_message_is_not_a_cortexs() -> None:
    frame = codec.encode(RequestCapabilities())
    assert codec.decode_from_cortex(frame) == RequestCapabilities()
    assert isinstance(codec.decode_from_neuron(frame), ProtocolFault)


@given(frame=st.binary(max_size=500))
def test_any_bytes_are_a_message_or_a_fault(frame: bytes) -> None:
    codec.decode_from_neuron(frame)
    codec.decode_from_cortex(frame)
