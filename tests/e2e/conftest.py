"""What the end-to-end tests share: the tails of all logs in the report of a failed test."""

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
