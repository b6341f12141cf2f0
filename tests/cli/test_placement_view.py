"""Why a model is placed as it is, for people."""

from helexa.cli.placement_view import placement_text
from helexa.cortex.observe.placing import placing
from helexa.cortex.orchestrator.rules import ModelRules, PlacementRules
from helexa.protocol.lifecycle import ModelState
from tests.fakes.fleet import GIB, fleet, joined, model, register, status


def test_the_funnel_reads_from_top_to_bottom() -> None:
    place = PlacementRules(labels=(("gpu", "l4"),))
    rules = ModelRules(min_replicas=2, max_replicas=None, guaranteed=True, placement=place)
    state = fleet(model("m"), rules=rules)
    state.apply([
        joined(1, register("n1", status(model("m")))),
        joined(2, register("n2", engines=("vllm",))),
        joined(3, register("n3")),
    ], 0.0)  # fmt: skip
    told = placing(state.snapshot(0.0), "m", 0.0)
    assert told is not None
    assert placement_text(told).splitlines() == [
        "model m · 2 wanted, 1 loaded · needs 1.0 GiB",
        "why so many: as it was found",
        (
            "rules: priority normal, weight 1, min_replicas 2, max_replicas none,"
            " keep_alive_s none, pinned no, forecast yes"
        ),
        "placement: labels gpu=l4",
        (
            "demand: 0 requests/s (10 min 0, hour 0), 0 s each, 0 at a time, 0 in flight,"
            " 0 waiting, idle 0 s"
        ),
        "seats on n1: 4 of 4",
        "its turn for what is free: 1.",
        "",
        "removed by held:",
        "  n1: has it, or is about to",
        "",
        "removed by engine:",
        "  n2: does not allow engine echo (allows vllm)",
        "",
        "removed by labels:",
        "  n3: lacks the label gpu=l4",
        "",
        (
            "no neuron can take it now (needs 1.0 GiB): n2: does not allow engine echo"
            " (allows vllm); n3: lacks the label gpu=l4"
        ),
    ]


def test_who_fits_is_a_table() -> None:
    state = fleet(model("m"), rules=ModelRules(min_replicas=0))
    known = status(model("m"), ModelState.UNLOADED)
    state.apply([joined(1, register("n1", known, budget_bytes=4 * GIB))], 0.0)
    told = placing(state.snapshot(0.0), "m", 0.0)
    assert told is not None
    lines = placement_text(told).splitlines()
    assert lines[-4].split() == ["NEURON", "FREE", "HAS", "CONFIG", "APART", "EVICTS"]
    assert lines[-3].split() == ["→", "n1", "4.0", "GiB", "yes", "yes", "-"]
    assert lines[-1] == "one more would go to n1"


def test_fewer_seats_than_the_engine_has_are_told_with_their_reason() -> None:
    state = fleet(model("m"))
    state.apply([joined(1, register("n1", status(model("m"))))], 0.0)
    told = placing(state.snapshot(0.0), "m", 0.0)
    assert told is not None
    learned = {"neuron": "n1", "seats": 2, "engine_seats": 4, "probing": False}
    learned["tokens_per_s"] = {"2": 58.0, "4": 59.25}
    text = placement_text({**told, "seats": [learned]})
    line = (
        "seats on n1: 2 of 4, because more at a time bring no more (tokens/s: 58 at 2, 59.25 at 4)"
    )
    assert line in text.splitlines()
    learned |= {"seats": 4, "probing": True, "tokens_per_s": {}}
    assert "seats on n1: 4 of 4, more are being tried" in placement_text(
        {**told, "seats": [learned]}
    )


def test_hours_of_a_forecast_are_told_with_what_they_mean() -> None:
    told = placing(fleet(model("m")).snapshot(0.0), "m", 0.0)
    assert told is not None
    assert "forecast:" not in placement_text(told), "nothing is known yet"
    hours = ["wanted on weekdays 09:00-10:00, 4 of the last 5 days", "wanted on weekends …"]
    told["forecast"] = {"warm": 0, "ahead": 0, "hours": hours}
    line = "warm by forecast: wanted on weekdays 09:00-10:00, 4 of the last 5 days; wanted on week"
    assert line in placement_text(told)
    told["forecast"]["warm"] = 2
    assert "warm by forecast (now: 2): wanted on weekdays" in placement_text(told)
    told["rules"]["forecast"] = False
    assert "not warm by forecast, which is off: wanted on weekdays" in placement_text(told)
