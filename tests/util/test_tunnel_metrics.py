"""Traffic is added up when somebody asks, and once."""

from helexa.protocol.tunnel import Traffic
from helexa.util.metrics import PrometheusMetrics
from helexa.util.tunnel_metrics import TunnelMetrics


def test_what_connections_have_carried_is_added_up_once() -> None:
    metrics = PrometheusMetrics()
    tunnels = TunnelMetrics(metrics)
    first, second = Traffic(), Traffic()
    first.bytes_in, first.messages_in, first.stalls = 100, 2, 1
    second.bytes_in, second.messages_in, second.bytes_out, second.messages_out = 11, 1, 7, 3
    for _ in range(3):
        tunnels.take(first)
        tunnels.take(second)
    text = metrics.render().decode()
    assert 'helexa_tunnel_bytes_total{direction="in"} 111.0' in text
    assert 'helexa_tunnel_bytes_total{direction="out"} 7.0' in text
    assert 'helexa_tunnel_messages_total{direction="in"} 3.0' in text
    assert 'helexa_tunnel_messages_total{direction="out"} 3.0' in text
    assert "helexa_tunnel_flow_stalls_total 1.0" in text


def test_round_trips_are_told_apart_by_their_length() -> None:
    metrics = PrometheusMetrics()
    tunnels = TunnelMetrics(metrics)
    for seconds in (0.0004, 0.004, 0.4):
        tunnels.round_trip(seconds)
    text = metrics.render().decode()
    assert 'helexa_tunnel_rtt_seconds_bucket{le="0.005"} 2.0' in text
    assert "helexa_tunnel_rtt_seconds_count 3.0" in text
