"""What the end-to-end tests share: logs in the report of a failed test, and what was measured."""

from collections.abc import Generator

import pytest

from tests.e2e.stack import LIVE


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for stack in LIVE:
            report.sections.append((f"logs of {stack.folder.name}", stack.log_tails()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured (`record_property`), whether they passed or not."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    told = [
        f"{name}: {value}"
        for report in reports
        if "tests/e2e/" in report.nodeid
        for name, value in report.user_properties
    ]
    if told:
        terminalreporter.section("measured end to end")
        for line in told:
            terminalreporter.write_line(line)
