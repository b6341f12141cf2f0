"""A request in the shape that Codex sends in the middle of a session; the words are ours."""

from typing import Any

CODEX: dict[str, Any] = {
    "model": "local",
    "instructions": "You write code.",
    "input": [
        {
            "type": "message",
            "role": "developer",
            "content": [{"type": "input_text", "text": "The sandbox is read-only."}],
        },
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "<environment_context/>"},
                {"type": "input_text", "text": "Fix the test."},
            ],
        },
        {
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Look first."}],
            "encrypted_content": None,
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look at it."}],
        },
        {
            "type": "function_call",
            "name": "shell",
            "arguments": '{"command":["ls"]}',
            "call_id": "call_1",
        },
        {"type": "function_call", "name": "plan", "arguments": "", "call_id": "call_2"},
        {"type": "custom_tool_call", "name": "apply_patch", "input": "***", "call_id": "call_3"},
        {"type": "function_call_output", "call_id": "call_1", "output": "a.py"},
        {
            "type": "function_call_output",
            "call_id": "call_2",
            "output": [
                {"type": "input_text", "text": "done"},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="},
            ],
        },
        {"type": "custom_tool_call_output", "call_id": "call_3", "output": "ok"},
        {"role": "user", "content": "Go on."},
    ],
    "tools": [
        {
            "type": "function",
            "name": "shell",
            "description": "Runs a command",
            "strict": False,
            "parameters": {
                "type": "object",
                "properties": {"command": {"type": "array", "items": {"type": "string"}}},
                "required": ["command"],
            },
        },
        {"type": "function", "name": "plan", "parameters": {"type": "object", "properties": {}}},
        {"type": "namespace", "name": "mcp__x", "tools": [{"type": "function", "name": "y"}]},
        {"type": "web_search", "external_web_access": False},
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "019f-session",
    "text": {"verbosity": "low"},
    "client_metadata": {"x-codex-installation-id": "i"},
}
