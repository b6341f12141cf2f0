"""The numbers that requests leave behind."""

from tests.fakes.engine_server import answer
from tests.fakes.executor_world import once, world


async def test_the_numbers_tell_how_requests_ended():
    async with world(once(answer(b"ok"))) as made:
        await made.open().ended()
        await made.open(b"BAD").ended()
        await made.open(model="nope").ended()
        text = made.metrics.render().decode()
    labels = 'model="m",operation="chat",outcome'
    assert f'helexa_neuron_requests_total{{{labels}="ok"}} 1.0' in text
    assert f'helexa_neuron_requests_total{{{labels}="client_error"}} 1.0' in text
    assert 'requests_total{model="other",operation="chat",outcome="rejected"} 1.0' in text
    assert 'helexa_neuron_tokens_total{model="m",type="output"} 7.0' in text
    assert 'helexa_neuron_tokens_total{model="m",type="cached_input"} 2.0' in text
    assert "helexa_neuron_requests_inflight 0.0" in text
