"""One answer of `/metrics`, whole."""

import asyncio
from dataclasses import replace

import pytest

from helexa.neuron.runtime.scrape import Scrape
from helexa.util.metrics import PrometheusMetrics
from helexa.util.tasks import TaskScope
from tests.fakes.plain_engine import PlainEngine
from tests.neuron.runtime.test_supervisor_probe import model_at


async def test_machine_and_engines_are_read_before_everything_is_told(tmp_path):
    """R1.42. Several who ask at once do not disturb each other."""
    tasks = TaskScope(lambda name, error: pytest.fail(f"{name}: {error}"))
    metrics = PrometheusMetrics()
    model = replace(model_at("http://127.0.0.1:9"), engine="plain")
    scrape = Scrape(
        metrics,
        tasks,
        lambda: 0.0,
        lambda: [(model, lambda: 5)],
        {"plain": PlainEngine()},
        tmp_path,
    )
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(scrape.told()) for _ in range(5)]
    for task in asked:
        text = task.result().decode()
        assert "helexa_disk_free_bytes" in text
        assert 'helexa_engine_rss_bytes{model="m"} 5.0' in text
    await scrape.close()
    await tasks.close()
