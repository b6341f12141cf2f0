"""The gateway's own OpenAPI 3.1 description, served at `/openapi.json`. Pure.

The ranges are those that `protocol.dialects` enforces; a test holds the two together by
running generated requests against a gateway.
"""

from typing import Any, Final

from helexa import __version__
from helexa.protocol.dialects.anthropic import STOP_SEQUENCES_MAX
from helexa.protocol.dialects.dialect import ANTHROPIC, OPENAI, Dialect
from helexa.protocol.dialects.openai import EMBEDDING_INPUTS_MAX, TOKENS_MAX
from helexa.protocol.dialects.responses import ITEMS_MAX
from helexa.protocol.errors import CODES, ErrorCode, Refusal

_COUNT: Final = {"type": ["integer", "null"], "minimum": 0, "maximum": TOKENS_MAX}
_STREAM_OPTIONS: Final = {
    "type": ["object", "null"],
    "properties": {"include_usage": {"type": ["boolean", "null"]}},
}
_SAMPLING: Final[dict[str, Any]] = {
    "model": {"type": ["string", "null"], "maxLength": 256},
    "stream": {"type": ["boolean", "null"]},
    "stream_options": _STREAM_OPTIONS,
    "max_tokens": _COUNT,
    "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 8},
    "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
    "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
    "presence_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2},
    "frequency_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2},
    "stop": {
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "maxItems": 4},
            {"type": "null"},
        ]
    },
    "seed": {"type": ["integer", "null"]},
}
_MESSAGE: Final = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool", "function"]},
        "content": {
            "anyOf": [
                {"type": "string"},
                {"type": "null"},
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["type"],
                        "properties": {"type": {"type": "string", "maxLength": 64}},
                    },
                },
            ]
        },
    },
}
_CHAT: Final = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        **_SAMPLING,
        "messages": {"type": "array", "items": _MESSAGE, "minItems": 1, "maxItems": 2048},
        "max_completion_tokens": _COUNT,
        "logprobs": {"type": ["boolean", "null"]},
        "top_logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
    },
}
_COMPLETION: Final = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        **_SAMPLING,
        "prompt": {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1}]},
        "logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
    },
}
_EMBEDDINGS: Final = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "model": {"type": ["string", "null"], "maxLength": 256},
        "input": {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "array",
                    "items": {"type": "string"},
                    "minItems": 1,
                    "maxItems": EMBEDDING_INPUTS_MAX,
                },
                {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            ]
        },
        "encoding_format": {"enum": ["float", "base64", None]},
    },
}
_BLOCKS: Final = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type"],
                "properties": {"type": {"type": "string", "maxLength": 64}},
            },
        },
    ]
}
_TOOL: Final = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "description": {"type": "string"},
        "input_schema": {"type": "object"},
    },
}
_COUNT_TOKENS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "model": {"type": ["string", "null"], "maxLength": 256},
        "messages": {
            "type": "array",
            "minItems": 1,
            "maxItems": 4096,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {
                    "role": {"enum": ["user", "assistant", "system"]},
                    "content": _BLOCKS,
                },
            },
        },
        "system": {"anyOf": [*_BLOCKS["anyOf"], {"type": "null"}]},
        "tools": {"type": ["array", "null"], "items": _TOOL, "maxItems": 128},
        "tool_choice": {
            "type": ["object", "null"],
            "required": ["type"],
            "properties": {"type": {"enum": ["auto", "any", "tool", "none"]}},
        },
    },
}
_MESSAGES: Final = {
    "type": "object",
    "required": ["messages", "max_tokens"],
    "properties": {
        **_COUNT_TOKENS["properties"],
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": TOKENS_MAX},
        "stream": {"type": ["boolean", "null"]},
        "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
        "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "top_k": {"type": ["integer", "null"], "minimum": 0, "maximum": TOKENS_MAX},
        "stop_sequences": {
            "type": ["array", "null"],
            "items": {"type": "string"},
            "maxItems": STOP_SEQUENCES_MAX,
        },
        "metadata": {"type": ["object", "null"]},
    },
}
_RESPONSES: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "input": {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": ITEMS_MAX,
                    "items": {
                        "type": "object",
                        "properties": {"type": {"type": "string"}, "role": {"type": "string"}},
                    },
                },
            ]
        },
        "model": {"type": ["string", "null"], "maxLength": 256},
        "instructions": {"type": ["string", "null"]},
        "stream": {"type": ["boolean", "null"]},
        "max_output_tokens": {"type": ["integer", "null"], "minimum": 1, "maximum": TOKENS_MAX},
        "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
        "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "store": {"type": ["boolean", "null"]},
        "previous_response_id": {"type": "null"},
    },
}
_ANTHROPIC_ERROR: Final = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"enum": ["error"]},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string"},
                "code": {"type": "string"},
            },
        },
        "request_id": {"type": "string"},
    },
}
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code", "param"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "code": {"type": ["string", "null"]},
                "param": {"type": ["string", "null"]},
            },
        }
    },
}


def _errors(dialect: Dialect = OPENAI) -> dict[str, Any]:
    statuses: dict[int, list[str]] = {}
    for code, rule in CODES.items():
        status = dialect.status_of(Refusal(code, ""))
        statuses.setdefault(status, []).append(f"`{code.value}`: {rule.text}")
    name = "AnthropicError" if dialect is ANTHROPIC else "Error"
    schema = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    return {
        str(status): {"description": "; ".join(texts), "content": schema}
        for status, texts in sorted(statuses.items())
    }


def _post(
    summary: str, body: dict[str, Any], *, streams: bool, dialect: Dialect = OPENAI
) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "post": {
            "summary": summary,
            "security": [{}, {"bearer": []}, {"key": []}],
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {
                "200": {"description": "the answer", "content": content},
                **_errors(dialect),
            },
        }
    }


def _get(summary: str, media_type: str = "application/json") -> dict[str, Any]:
    schema = {"type": "object"} if media_type == "application/json" else {"type": "string"}
    answer = {"description": "the answer", "content": {media_type: {"schema": schema}}}
    return {
        "get": {
            "summary": summary,
            "security": [{}, {"bearer": []}],
            "responses": {"200": answer, **_errors()},
        }
    }


def description() -> dict[str, Any]:
    """Return the OpenAPI document."""
    model = _get("One model")
    name = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    model["get"]["parameters"] = [name]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "helexa",
            "version": __version__,
            "description": "Inference with the APIs of OpenAI and Anthropic. Error codes: "
            + ", ".join(code.value for code in ErrorCode),
        },
        "paths": {
            "/v1/chat/completions": _post("Answer a conversation", _CHAT, streams=True),
            "/v1/completions": _post("Continue a text", _COMPLETION, streams=True),
            "/v1/embeddings": _post("Turn texts into vectors", _EMBEDDINGS, streams=False),
            "/v1/responses": _post("Answer a conversation of items", _RESPONSES, streams=True),
            "/v1/messages": _post(
                "Answer a conversation, as Anthropic's API does",
                _MESSAGES,
                streams=True,
                dialect=ANTHROPIC,
            ),
            "/v1/messages/count_tokens": _post(
                "How long a conversation is to the model",
                _COUNT_TOKENS,
                streams=False,
                dialect=ANTHROPIC,
            ),
            "/v1/models": _get("All models"),
            "/v1/models/{model}": model,
            "/health": _get("The process is alive"),
            "/readyz": _get("Some model can be served"),
            "/version": _get("Build identity"),
            "/metrics": _get("Prometheus text", "text/plain"),
        },
        "components": {
            "schemas": {"Error": _ERROR, "AnthropicError": _ANTHROPIC_ERROR},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }
