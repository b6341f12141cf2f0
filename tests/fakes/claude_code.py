"""A request in the shape that Claude Code sends in the middle of a session; the words are ours."""

from typing import Any

PICTURE: dict[str, str] = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
_CACHED = {"type": "ephemeral"}

CLAUDE_CODE: dict[str, Any] = {
    "model": "claude-local",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>\nToday is Friday.\n</system-reminder>"},
                {"type": "text", "text": "Fix the test.", "cache_control": _CACHED},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Look first.", "signature": "EqQBCgIYAhIM"},
                {"type": "text", "text": "I look at it."},
                {
                    "type": "tool_use",
                    "id": "toolu_01A",
                    "name": "Read",
                    "input": {"file_path": "/a/test_b.py", "limit": 20},
                    "caller": {"type": "direct"},
                },
                {"type": "tool_use", "id": "toolu_01B", "name": "Screenshot", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_01A",
                    "content": "1\tassert 1 == 2",
                    "is_error": False,
                },
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_01B",
                    "content": [
                        {"type": "text", "text": "done"},
                        {"type": "image", "source": PICTURE},
                        {"type": "tool_reference", "tool_name": "Later"},
                    ],
                },
                {"type": "text", "text": "Go on.", "cache_control": _CACHED},
            ],
        },
        {"role": "system", "content": "The user switched to plan mode."},
    ],
    "system": [
        {
            "type": "text",
            "text": "x-anthropic-billing-header: cc_version=2.1.40; cc_entrypoint=cli; cch=eb6c6;",
        },
        {"type": "text", "text": "You write code.", "cache_control": _CACHED},
        {"type": "text", "text": "Be brief.", "cache_control": {**_CACHED, "ttl": "1h"}},
    ],
    "tools": [
        {
            "name": "Read",
            "description": "Reads a file",
            "input_schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {"file_path": {"type": "string"}, "limit": {"type": "number"}},
                "required": ["file_path"],
                "additionalProperties": False,
            },
            "eager_input_streaming": True,
        },
        {"name": "Screenshot", "input_schema": {"type": "object", "properties": {}}},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
        {"type": "advisor_20260301", "name": "advisor", "model": "x"},
    ],
    "metadata": {"user_id": "user_1f_account__session_a0e1"},
    "max_tokens": 32000,
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "medium"},
    "stream": True,
}
