"""Coverage-guided fuzzing of the edge with atheris, for `make soak`; not part of the test run.

    python tests/soak/fuzz_edge.py [corpus folder] [-max_total_time=600]

Each input is fed whole and in pieces whose sizes come from its first bytes. It fails on a crash,
on more answers than requests, on a difference between the splits, and on a request that h11 reads
otherwise.
"""

import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[2])]

with atheris.instrument_imports(include=["helexa.cortex.gateway.edge"]):
    from tests.conformance.http_cases import cases
    from tests.conformance.http_fuzz import TIGHT, agrees_with_h11, outcome

SPLIT_BYTES = 4


def one_input(data: bytes) -> None:
    """Check one input of the fuzzer."""
    steps, data = data[:SPLIT_BYTES], data[SPLIT_BYTES:]
    whole = outcome([data] if data else [])
    pieces, at = [], 0
    while at < len(data):
        size = 1 + (steps[len(pieces) % len(steps)] if steps else 0) % 40
        pieces.append(data[at : at + size])
        at += size
    assert outcome(pieces) == whole
    agrees_with_h11(data, whole)


def seed(folder: Path) -> None:
    """Write the conformance cases as a first corpus."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(cases()):
        raw = b"".join(case.pieces)
        if len(raw) < TIGHT.head_bytes_max * 4:
            (folder / f"case-{number}").write_bytes(b"\x03\x11\x00\x27" + raw)


def main() -> None:
    """Run until a finding, or for as long as libFuzzer's own options say."""
    folders = [Path(word) for word in sys.argv[1:] if not word.startswith("-")]
    if folders:
        seed(folders[0])
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
