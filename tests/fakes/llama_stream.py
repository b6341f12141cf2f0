"""Bytes as llama.cpp's server sends them, spelled after recorded answers of two of its builds."""

import json

PROGRESS = {"total": 32, "cache": 8, "processed": 32, "time_ms": 12}


def event(payload) -> bytes:
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode() + b"\n\n"


def chunk(choices, answer_id="chatcmpl-7UfB", **extras) -> bytes:
    return event(
        {
            "choices": choices,
            "created": 1795401461,
            "id": answer_id,
            "model": "smol",
            "system_fingerprint": "b1-7e4c0a9",
            "object": "chat.completion.chunk",
            **extras,
        }
    )


def role(index=0, **extras) -> bytes:
    delta = {"role": "assistant", "content": None}
    return chunk([{"finish_reason": None, "index": index, "delta": delta}], **extras)


def progress(processed, total=8000, cache=0, time_ms=10) -> bytes:
    told = {"total": total, "cache": cache, "processed": processed, "time_ms": time_ms}
    return role(prompt_progress=told)


def delta(index=0, logprobs=None, timings=None, **fields) -> bytes:
    choice = {"finish_reason": None, "index": index, "delta": fields}
    if logprobs is not None:
        choice["logprobs"] = {
            "content": [
                {"id": 5, "token": one, "bytes": list(one.encode()), "logprob": -0.5,
                 "top_logprobs": [{"id": 5, "token": one, "bytes": [], "logprob": -0.5}]}
                for one in logprobs
            ]
        }  # fmt: skip
    return chunk([choice], **({} if timings is None else {"timings": timings}))


def timings(prompt_n=8, predicted_n=3, cache_n=24) -> dict:
    return {"cache_n": cache_n, "prompt_n": prompt_n, "prompt_ms": 11.3, "predicted_n": predicted_n,
            "predicted_ms": 26.9}  # fmt: skip


def finish(index=0, reason="length", **counts) -> bytes:
    choice = {"finish_reason": reason, "index": index, "delta": {}}
    return chunk([choice], timings=timings(**counts))


def text(piece, index=0, reason=None, logprobs=None, **extras) -> bytes:
    choice = {"text": piece, "index": index, "logprobs": logprobs, "finish_reason": reason}
    return chunk([choice], object="text_completion", **extras)


DONE = b"data: [DONE]\n\n"


def chat(*pieces) -> bytes:
    """A whole answer of one choice."""
    body = b"".join(delta(content=piece) for piece in pieces)
    return progress(32, 32) + role() + body + finish(predicted_n=len(pieces)) + DONE


def translate(translation, data: bytes, *, status=200, complete=True, size=None):
    """Run an answer through a translation; return (bytes for the caller, its Ending)."""
    translation.on_head(status, {"content-type": "text/event-stream"})
    size = size or max(len(data), 1)
    out = b"".join(translation.on_data(data[at : at + size]) for at in range(0, len(data), size))
    ending = translation.on_end(complete=complete)
    return out + ending.data, ending


def payloads(stream: bytes) -> list:
    """The decoded events of a stream, `[DONE]` as a string, comments left out."""
    found = []
    for one in stream.split(b"\n\n"):
        if one.startswith(b"data: "):
            found.append("[DONE]" if one == b"data: [DONE]" else json.loads(one[6:]))
    return found


def said(stream: bytes, index=0) -> str:
    """The content that a caller reads from one choice of a chat stream."""
    return "".join(
        choice["delta"].get("content") or ""
        for one in payloads(stream)
        if one != "[DONE]"
        for choice in one["choices"]
        if choice["index"] == index
    )
