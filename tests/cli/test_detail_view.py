"""Answers of the admin API as indented text."""

from helexa.cli.detail_view import detail_text

SHOWN = """\
id        n1
labels
  zone  a
  rack  2
engines   echo, vllm
cordoned  yes
drain     -
since     3 min 20 s
heard     1.5 s
cpu       25 %
memory
  budget  8.0 GiB
  free    -
models
  m
    state  loaded
answers
  MODEL  ACCEPTED  BECAUSE
  m      no        engine vllm
  x      yes       -"""


def test_everything_is_shown_with_its_unit() -> None:
    shown = detail_text(
        {
            "id": "n1", "labels": {"zone": "a", "rack": "2"}, "engines": ["echo", "vllm"],
            "cordoned": True, "drain": None, "since_s": 200.0, "heard_s": 1.5, "cpu_ratio": 0.25,
            "memory": {"budget_bytes": 8 * 2**30, "free_bytes": None},
            "models": {"m": {"state": "loaded"}},
            "answers": [
                {"model": "m", "accepted": False, "because": "engine vllm"},
                {"model": "x", "accepted": True, "because": ""},
            ],
        }
    )  # fmt: skip
    assert shown == SHOWN


def test_names_of_other_machines_cannot_steer_the_terminal() -> None:
    told = {"evil\x1b[2J": {"a": "b\x1b"}, "list": [{"x": "\x1b"}], "line\x1b": 1}
    assert "\x1b" not in detail_text(told)
