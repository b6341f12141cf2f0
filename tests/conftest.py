"""What every test may use."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def weights_folder() -> Path:
    """A model folder that outlives the session, so that real weights are pulled once."""
    return Path(__file__).parent.parent / ".make" / "models"
