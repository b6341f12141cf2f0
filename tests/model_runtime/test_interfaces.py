import dataclasses

import pytest

from helexa.model_runtime.dummy import DummyRuntime
from helexa.model_runtime.engines.catalogue import ENGINES
from helexa.model_runtime.interfaces import AttachPlan, EngineDescription, Failure, InferenceError
from helexa.model_runtime.process_runtime import ProcessRuntime
from helexa.protocol.errors import ErrorCode

INFERENCE = ("chat", "chat_stream", "complete", "embed", "caption")


def test_an_inference_error_says_whose_fault_it_is_and_whether_to_retry():
    """R0.19"""
    error = InferenceError(ErrorCode.ENGINE_CRASH, "it died", retryable=True)
    assert (error.code, error.retryable, str(error)) == (ErrorCode.ENGINE_CRASH, True, "it died")
    assert not InferenceError(ErrorCode.BAD_REQUEST, "x").retryable


@pytest.mark.parametrize("runtime", [DummyRuntime, ProcessRuntime])
def test_a_runtime_implements_every_inference_interface(runtime):
    """R0.19, R0.21, R0.22, R0.23"""
    assert all(callable(getattr(runtime, name)) for name in INFERENCE)


def test_every_engine_has_all_that_its_description_promises():
    promised = [name for name in vars(EngineDescription) if not name.startswith("_")]
    assert "call" in promised
    for engine in ENGINES.values():
        assert all(hasattr(engine, name) for name in promised), engine.name


def test_values_are_frozen_and_blame_the_engine_unless_said_otherwise():
    assert Failure(ErrorCode.ENGINE_CRASH, "x").blames_engine
    with pytest.raises(dataclasses.FrozenInstanceError):
        AttachPlan("http://x").endpoint = "http://y"
