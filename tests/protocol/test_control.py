"""The golden frames in tests/replays/control are the specification of the control messages."""

import json
from pathlib import Path

import msgspec
import pytest

from helexa.protocol import codec
from helexa.protocol.control import CortexMessage, NeuronMessage, ProtocolFault, Provisioning

FRAMES = Path(__file__).parent.parent / "replays" / "control"
NAMES = sorted(path.stem for path in FRAMES.glob("*.json"))
FROM_CORTEX = {
    "welcome", "upsert_model_config", "load_model", "unload_model", "request_capabilities",
    "shutdown_notice",
}  # fmt: skip


def decode(name: str, frame: bytes) -> NeuronMessage | CortexMessage:
    reader = codec.decode_from_cortex if name in FROM_CORTEX else codec.decode_from_neuron
    return reader(frame)


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_frame_reads_and_writes_to_the_same_json(name: str) -> None:
    """R0.18, R1.7, R1.9, R1.10, R1.12: every message round-trips through its golden frame."""
    frame = (FRAMES / f"{name}.json").read_bytes()
    message = decode(name, frame)
    assert not isinstance(message, ProtocolFault) or name == "error"
    assert json.loads(codec.encode(message)) == json.loads(frame)


def test_every_kind_of_message_has_a_golden_frame() -> None:
    kinds = {
        variant.__struct_config__.tag
        for union in (NeuronMessage, CortexMessage)
        for variant in union.__args__
    }
    commands = {"upsert_model_config", "load_model", "unload_model"}
    assert set(NAMES) == (kinds - {"provisioning"}) | commands


@pytest.mark.parametrize("name", NAMES)
def test_unknown_fields_are_ignored_at_every_depth(name: str) -> None:
    """R0.18: a newer peer may say more than we know."""

    def widen(value: object) -> object:
        if isinstance(value, dict):
            widened = {key: widen(item) for key, item in value.items()}
            # Free maps (labels, options, counters) have keys of their own.
            return widened | ({"from_the_future": [1]} if "kind" in value or "id" in value else {})
        return [widen(item) for item in value] if isinstance(value, list) else value

    frame = (FRAMES / f"{name}.json").read_bytes()
    assert decode(name, msgspec.json.encode(widen(json.loads(frame)))) == decode(name, frame)


def test_a_command_keeps_its_id_and_cause() -> None:
    """R2.12: load_model is a message; its command id makes it idempotent."""
    message = decode("load_model", (FRAMES / "load_model.json").read_bytes())
    assert isinstance(message, Provisioning)
    assert (message.command_id, message.cause) == ("c-2", "req-1")
