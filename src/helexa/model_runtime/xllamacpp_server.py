"""llama.cpp's own HTTP server out of the xllamacpp wheel, as a process.

Run by path under `python -I` with the same arguments as llama-server, as far as helexa uses them.
It imports nothing of helexa. Exit status 1 means that the model could not be loaded; the reason is
on standard error, where llama.cpp logs.
"""

import argparse
import signal
import sys
from pathlib import Path
from typing import Any

_POOLING = ("mean", "cls", "last")
_CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
_FLASH_ATTENTION = {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; exits with status 2 if it is wrong."""
    parser = argparse.ArgumentParser(prog="xllamacpp_server", allow_abbrev=False)
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--host", choices=("127.0.0.1",), default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--kv-unified", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--ctx-size", type=int, default=0)
    parser.add_argument("--slot-prompt-similarity", type=float, default=0.1)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--ubatch-size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--threads-http", type=int, default=-1)
    parser.add_argument("--cache-ram", type=int, default=256)
    parser.add_argument("--cache-type-k", choices=_CACHE_TYPES, default="f16")
    parser.add_argument("--cache-type-v", choices=_CACHE_TYPES, default="f16")
    parser.add_argument("--flash-attn", choices=tuple(_FLASH_ATTENTION), default="auto")
    parser.add_argument("--gpu-layers", type=int, default=0)
    parser.add_argument("--pooling", choices=_POOLING)
    parser.add_argument("--chat-template", default="")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--api-key-file")
    parser.add_argument("--jinja", action=argparse.BooleanOptionalAction, default=True)
    for switch in ("--metrics", "--no-webui", "--offline", "--embeddings"):
        parser.add_argument(switch, action="store_true")
    return parser.parse_args(arguments)


def parameters(options: argparse.Namespace, xllamacpp: Any) -> Any:
    """Return the library's parameters for a command line."""
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_parallel = options.parallel
    params.kv_unified = options.kv_unified
    params.n_ctx = options.ctx_size
    params.slot_prompt_similarity = options.slot_prompt_similarity
    params.n_batch = options.batch_size
    params.n_ubatch = options.ubatch_size
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.n_threads_http = options.threads_http
    params.cache_ram_mib = options.cache_ram
    params.n_gpu_layers = options.gpu_layers
    params.cache_type_k = _enum(xllamacpp.ggml_type, f"GGML_TYPE_{options.cache_type_k}")
    params.cache_type_v = _enum(xllamacpp.ggml_type, f"GGML_TYPE_{options.cache_type_v}")
    flash = _FLASH_ATTENTION[options.flash_attn]
    kinds = xllamacpp.llama_flash_attn_type
    params.flash_attn_type = _enum(kinds, f"LLAMA_FLASH_ATTN_TYPE_{flash}")
    params.endpoint_metrics = options.metrics
    params.endpoint_slots = True
    params.ui = not options.no_webui
    params.offline = options.offline
    params.use_jinja = options.jinja
    params.embedding = options.embeddings
    params.chat_template = options.chat_template
    if options.pooling is not None:
        kinds = xllamacpp.llama_pooling_type
        params.pooling_type = _enum(kinds, f"LLAMA_POOLING_TYPE_{options.pooling}")
    if options.seed is not None:
        params.sampling.seed = options.seed
    if options.api_key_file is not None:
        params.api_keys = Path(options.api_key_file).read_text(encoding="utf-8").split()
    return params


def main(arguments: list[str]) -> int:
    """Serve until a signal ends the process; return 1 if the model cannot be loaded."""
    options = parse(arguments)
    import xllamacpp  # noqa: PLC0415  (34 MB of native code: only after the command line is right)

    try:
        server = xllamacpp.Server(parameters(options, xllamacpp))
    except (RuntimeError, ValueError, OSError) as error:
        sys.stderr.write(f"cannot serve {options.model}: {error}\n")
        return 1
    sys.stdout.write(f"listening on {server.listening_address}\n")
    sys.stdout.flush()
    while True:  # the server works in threads of its own; SIGTERM ends the process
        signal.pause()


def _enum(kinds: Any, name: str) -> Any:
    """Return a member of one of the library's enums, whose names mix cases, by its name."""
    for member in dir(kinds):
        if member.lower() == name.lower():
            return getattr(kinds, member)
    raise ValueError(f"this build of llama.cpp has no {name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
