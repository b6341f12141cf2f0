"""What who waits for a model is told."""

from helexa.cortex.gateway.loading import load_comment, load_words, still_loading
from helexa.cortex.orchestrator.snapshot import ModelView
from helexa.protocol.errors import ErrorCode
from tests.fakes.fleet import model

LOADING = ModelView(
    config=model(), loading=True, progress=0.4, because="loading on n1", ready_at_s=112.0
)


def test_progress_and_the_time_left_are_told() -> None:
    assert load_words(LOADING, 100.0) == "40 %, about 12 s left (loading on n1)"
    assert load_words(LOADING, 200.0) == "40 %, nearly done (loading on n1)"
    assert load_words(ModelView(config=model()), 0.0) == "about to be loaded"


def test_a_comment_is_one_line_whatever_a_neuron_says() -> None:
    evil = ModelView(config=model(), because="x\n\ndata: {}\n\n" * 50)
    comment = load_comment(evil, 0.0)
    assert comment.startswith(b": m is loading: x  data")
    assert comment.count(b"\n") == 2
    assert comment.endswith(b"\n\n")
    assert len(comment) < 300


def test_the_refusal_has_progress_and_a_retry_after_of_the_time_left() -> None:
    """R6.13."""
    refusal = still_loading(LOADING, 60.0, 100.0)
    assert refusal.code is ErrorCode.MODEL_LOADING
    assert refusal.because == (
        "the model is still loading after 60 s: 40 %, about 12 s left (loading on n1);"
        " try again later"
    )
    assert refusal.retry_after_s == 12
    assert still_loading(LOADING, 60.0, 0.0).retry_after_s == 30
    assert still_loading(None, 60.0, 0.0).retry_after == 5
