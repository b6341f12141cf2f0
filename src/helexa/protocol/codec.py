"""Control messages ⇄ JSON text. Pure; a frame that cannot be read is a value, not an exception."""

from typing import Final, TypeVar

import msgspec

from helexa.protocol.control import CortexMessage, NeuronMessage, ProtocolFault

FRAME_BYTES_MAX: Final = 1 << 20

_M = TypeVar("_M")

_encoder: Final = msgspec.json.Encoder()
_from_neuron: Final = msgspec.json.Decoder(NeuronMessage)
_from_cortex: Final = msgspec.json.Decoder(CortexMessage)


class _Kind(msgspec.Struct, frozen=True):
    kind: str


_kind: Final = msgspec.json.Decoder(_Kind)
_KINDS: Final = frozenset(
    variant.__struct_config__.tag
    for union in (NeuronMessage, CortexMessage)
    for variant in union.__args__
)


def encode(message: NeuronMessage | CortexMessage) -> bytes:
    """Return the message as one JSON text frame."""
    return _encoder.encode(message)


def decode_from_neuron(frame: bytes) -> NeuronMessage | ProtocolFault:
    """Read a frame that a neuron sent; a `ProtocolFault` to answer with where it is not one."""
    return _decode(_from_neuron, frame)


def decode_from_cortex(frame: bytes) -> CortexMessage | ProtocolFault:
    """Read a frame that a cortex sent; a `ProtocolFault` to answer with where it is not one."""
    return _decode(_from_cortex, frame)


def _decode(decoder: "msgspec.json.Decoder[_M]", frame: bytes) -> _M | ProtocolFault:
    if len(frame) > FRAME_BYTES_MAX:
        return ProtocolFault(
            code="frame_too_large", message=f"{len(frame)} bytes > {FRAME_BYTES_MAX}"
        )
    try:
        return decoder.decode(frame)
    except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError) as error:
        return ProtocolFault(code=_fault_code(frame), message=str(error)[:500])


def _fault_code(frame: bytes) -> str:
    try:
        kind = _kind.decode(frame).kind
    except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError):
        return "malformed_frame"
    return "malformed_message" if kind in _KINDS else "unknown_kind"
