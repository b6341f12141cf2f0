"""What every test may use."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

# How fast a machine draws or runs an example is no property of the code.
settings.register_profile("helexa", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("helexa")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def weights_folder() -> Path:
    """A model folder that outlives the session, so that real weights are pulled once."""
    return Path(__file__).parent.parent / ".make" / "models"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what a test (or a command that it ran in this process) made of logging."""
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    for handler in list(root.handlers):
        if getattr(handler, "helexa", False):
            root.removeHandler(handler)
