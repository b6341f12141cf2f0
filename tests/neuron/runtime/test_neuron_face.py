"""What a neuron says of itself."""

from helexa.neuron.runtime.neuron_face import EngineUse, NeuronFace, engine_uses
from helexa.protocol.neuron import NeuronDescriptor, NeuronHealth
from helexa.util.metrics import PrometheusMetrics
from tests.fakes.neuron_face import HARDWARE, STATUS
from tests.fakes.plain_engine import PlainEngine


def engine(name, *, binaries=(), spawns=True):
    made = PlainEngine(spawns)
    made.name, made.binaries = name, binaries
    return made


class Supervisor:
    known = (STATUS,)

    def statuses(self, *, with_config=False):
        return self.known

    def health(self):
        return NeuronHealth(problems=("p",))

    def log_tail(self, model_id):
        return (f"last line of {model_id}",)

    async def provision(self, command_id, command, cause):
        return (command_id, command, cause)


class Seats:
    total = (3, 2)


def face(read=lambda: HARDWARE, engines=(), supervisor=None):
    return NeuronFace(
        descriptor=NeuronDescriptor(id="n", epoch=1),
        hardware=HARDWARE,
        read_hardware=read,
        budget_bytes=123,
        engines=engines,
        supervisor=supervisor or Supervisor(),
        seats=Seats(),
    )


def test_an_engine_is_usable_when_one_of_its_binaries_is():
    engines = {
        "a": engine("a", binaries=("x", "y")),
        "b": engine("b", binaries=("z",)),
        "c": engine("c", spawns=False, binaries=("nothing",)),
        "d": engine("d", binaries=("w",)),
    }
    uses = engine_uses(engines, {"y": "/bin/y"}, {"z": "built for another CPU"})
    assert uses == (
        EngineUse(name="a", usable=True),
        EngineUse(name="b", usable=False, because="z: built for another CPU"),
        EngineUse(name="c", usable=True),
        EngineUse(name="d", usable=False, because="w: not installed"),
    )


async def test_capabilities_name_only_engines_that_can_run_and_read_the_hardware_anew():
    """R1.21: what is published is what is there now."""
    reads = []

    def read():
        reads.append(1)
        return HARDWARE

    engines = (EngineUse(name="a", usable=True), EngineUse(name="b", usable=False, because="x"))
    made = face(read, engines)
    capabilities = await made.capabilities()
    assert capabilities.engines == ("a",)
    assert capabilities.memory_budget_bytes == 123
    assert made.known_capabilities() == capabilities
    assert len(reads) == 1


async def test_the_rest_is_what_supervisor_and_seats_know():
    made = face()
    assert made.statuses(with_config=True) == (STATUS,)
    assert made.health().problems == ("p",)
    assert made.log_tail("m") == ("last line of m",)
    load = made.load()
    assert (load.active_requests, load.waiting_requests) == (3, 2)
    assert load.memory_available_bytes > 0
    assert await made.provision("c", "command", "cause") == ("c", "command", "cause")


def test_gauges_are_written_when_they_are_asked_for():
    metrics = PrometheusMetrics()
    face().publish(metrics)
    text = metrics.render().decode()
    assert 'helexa_neuron_model_up{model="m"} 1.0' in text
    assert "helexa_neuron_requests_waiting 2.0" in text
    assert 'neuron="n"' in next(line for line in text.splitlines() if "neuron_info{" in line)


def test_a_model_that_is_forgotten_is_no_longer_told_as_up():
    metrics, supervisor = PrometheusMetrics(), Supervisor()
    made = face(supervisor=supervisor)
    made.publish(metrics)
    supervisor.known = ()
    made.publish(metrics)
    assert 'helexa_neuron_model_up{model="m"} 0.0' in metrics.render().decode()
