"""What all models share, as the state gives it to each."""

from helexa.neuron.registry.ground import Ground
from helexa.neuron.registry.record import ModelRecord
from tests.fakes.engines import GIB, TinyEngine
from tests.fakes.registry import Script, config


def ground_of(script: Script) -> Ground:
    return script.state


def test_attempts_never_repeat():
    ground = ground_of(Script())
    assert len({ground.new_attempt() for _ in range(100)}) == 100


def test_the_description_is_the_config_s():
    assert isinstance(ground_of(Script()).engine(config()), TinyEngine)


def test_a_shortage_counts_the_others_and_not_the_model_itself():
    script = Script()
    script.bring_up(config(memory_gib=12))
    own = script.state._records["m"]
    other = ModelRecord(config=config("x"), about=config("x"))
    assert ground_of(script).shortage(own, 20 * GIB) is None
    assert ground_of(script).shortage(other, 20 * GIB) == "needs 20.0 GiB; 10.0 free of 22.0"


def test_a_forgotten_model_is_not_saved_again():
    script = Script()
    script.upsert()
    ground_of(script).forgotten("m")
    assert script.state.configs() == ()
