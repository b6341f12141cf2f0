"""The status page: what it shows, and that nothing in it can run."""

import msgspec

from helexa.cortex.portal.page import page
from helexa.protocol.lifecycle import ModelState
from tests.fakes.fleet import GIB, fleet, joined, model, register, status


def test_a_whole_fleet_is_shown_as_such() -> None:
    state = fleet(model("m"))
    state.apply([joined(1, register("n1", status(model("m"))))], 0.0)
    html = page(state.snapshot(0.0), 2.0, "0.1.0")
    assert "Everything that is wanted is up." in html
    assert "<td>n1</td>" in html
    assert "1.0 GiB of 8.0 GiB" in html
    assert GIB


def test_problems_come_first() -> None:
    html = page(fleet(model("m")).snapshot(0.0), 0.0, "0.1.0")
    assert "no neuron is connected" in html
    assert "<td colspan" in html


def test_what_neurons_say_is_shown_and_never_run() -> None:
    """S21: names and reasons are inert."""
    evil = '<img src=x onerror="alert(1)">'
    message = register("n1", status(model("m"), ModelState.FAILED, because=evil))
    named = msgspec.structs.replace(
        message, neuron=msgspec.structs.replace(message.neuron, hostname=evil)
    )
    state = fleet(model("m"))
    state.apply([joined(1, named)], 0.0)
    html = page(state.snapshot(0.0), 0.0, evil)
    assert "<img" not in html
    assert "&lt;img" in html
