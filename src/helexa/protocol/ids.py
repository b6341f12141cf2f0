"""Names of things on the wire: plain strings on the wire, distinct types in the code."""

import re
from typing import Final, NewType

ModelId = NewType("ModelId", str)
NeuronId = NewType("NeuronId", str)
RequestId = NewType("RequestId", str)
CommandId = NewType("CommandId", str)

ID_CHARS_MAX: Final = 128
_MODEL_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}\Z")
_NEURON_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")


def model_id_problem(text: str) -> str | None:
    """Say what is wrong with a model id, or None if nothing is."""
    if _MODEL_ID.match(text) and ".." not in text and "//" not in text:
        return None
    return "a model id has 1 to 128 characters of A-Z a-z 0-9 . _ : / @ + -, no '..' and no '//'"


def neuron_id_problem(text: str) -> str | None:
    """Say what is wrong with a neuron id, or None if nothing is."""
    if _NEURON_ID.match(text):
        return None
    return (
        "a neuron id has 1 to 64 characters of A-Z a-z 0-9 . _ - and starts with a letter or digit"
    )


def is_request_id(text: str) -> bool:
    """Tell whether a caller's `x-request-id` can be kept as it is."""
    return _REQUEST_ID.match(text) is not None
