"""The bench's tables: medians, ratios, and goals that are met, not met or not measured."""

from bench.measure import Figures, median
from bench.report import GOALS, goals_table, ratio, table
from bench.scenarios import SCENARIOS

SCENARIO = SCENARIOS[0]


def test_the_median_of_each_figure_is_taken_and_faults_add_up() -> None:
    runs = [
        Figures(faults=1, requests_per_s=100.0),
        Figures(requests_per_s=900.0, latency_p50_us=7.0),
        Figures(faults=2, requests_per_s=200.0),
    ]
    assert median(runs) == Figures(faults=3, requests_per_s=200.0, latency_p50_us=7.0)


def test_a_ratio_needs_both_sides() -> None:
    assert ratio(3.0, 2.0) == 1.5
    assert ratio(None, 2.0) is None
    assert ratio(3.0, None) is None
    assert ratio(3.0, 0.0) is None


def test_the_table_tells_wall_clock_ratios_from_those_per_cpu_second() -> None:
    targets = {
        "direct": Figures(requests_per_s=1000.0),
        "nginx": Figures(requests_per_s=500.0, requests_per_cpu_s=800.0),
        "helexa": Figures(requests_per_s=100.0, requests_per_cpu_s=600.0),
    }
    header, *rows = table(SCENARIO, targets).splitlines()[1:]
    assert header.split()[:6] == ["req/s", "wall", "/direct", "/nginx", "req", "per"]
    assert rows[0].split()[:5] == ["direct", "1,000", "1.00", "2.00", "–"]
    assert rows[2].split()[:6] == ["helexa", "100", "0.10", "0.20", "600", "0.75"]


def test_goals_without_figures_are_not_measured() -> None:
    assert [goal.is_met({}) for goal in GOALS] == [None] * len(GOALS)
    assert goals_table({}).count("not measured") == len(GOALS)


def test_goals_are_judged_by_their_bounds() -> None:
    def results(share: float, p50_us: float, memory_mib: float) -> dict[str, dict[str, Figures]]:
        nginx = Figures(requests_per_cpu_s=100.0, gateway_us_per_event=10.0)
        helexa = Figures(requests_per_cpu_s=100.0 * share, gateway_us_per_event=10.0 / share)
        rates = {"nginx": nginx, "helexa": helexa}
        return {
            "nonstream-16": rates,
            "burst-64": rates,
            "paced-2ms-64": rates,
            "nonstream-1": {
                "direct": Figures(latency_p50_us=20.0),
                "helexa": Figures(latency_p50_us=p50_us),
            },
            "open-5000": {"helexa": Figures(held=5000.0, gateway_rss_mib=memory_mib)},
        }

    good = results(1.1, 400.0, 200.0)
    bad = results(0.5, 600.0, 300.0)
    assert [goal.is_met(good) for goal in GOALS] == [True] * len(GOALS)
    assert [goal.is_met(bad) for goal in GOALS] == [False] * len(GOALS)


def test_memory_counts_only_when_every_stream_was_held() -> None:
    few = {"open-5000": {"helexa": Figures(held=4000.0, gateway_rss_mib=1.0)}}
    assert GOALS[-1].is_met(few) is None
