"""The JSON schema of each kind of settings file, for editors and other programs. Pure."""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from helexa.config.cortex import CortexConfig, CortexSpec
from helexa.config.neuron import NeuronConfig
from helexa.config.sockets import Socket, Url

KINDS: Final[dict[str, type[BaseModel]]] = {
    "cortex": CortexConfig,
    "neuron": NeuronConfig,
    "spec": CortexSpec,
}
# These get their defaults from the machine, so a file need not hold them.
_FROM_THE_MACHINE: Final = frozenset({"state_dir", "node_id"})


class _Generator(GenerateJsonSchema):
    """Tells defaults in the form in which they are written in a file."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Socket | Url):
            return str(dft)
        if isinstance(dft, BaseModel):
            return dft.model_dump(mode="json", exclude_none=True, by_alias=True)
        return super().encode_default(dft)


def json_schema(kind: str) -> dict[str, Any]:
    """Return the schema of a file of `kind`, one of KINDS."""
    schema = KINDS[kind].model_json_schema(schema_generator=_Generator)
    required = [name for name in schema.pop("required", []) if name not in _FROM_THE_MACHINE]
    if required:
        schema["required"] = required
    schema |= {"$schema": _Generator.schema_dialect, "title": f"helexa {kind}"}
    return schema
