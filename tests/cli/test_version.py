"""`helexa version`."""

import json

import helexa as package
from helexa.protocol.version import VERSION
from helexa.util.build import identity
from tests.cli.conftest import Helexa


def test_the_version_is_told_to_people_and_programs(helexa: Helexa) -> None:
    told = json.loads(helexa("version", "-o", "json").out)
    assert told["helexa"] == package.__version__
    assert told["protocol"] == VERSION
    commit = identity().get("commit")
    assert told.get("commit") == commit
    shown = f"commit {commit[:12]}, " if commit else ""
    assert helexa("version").out.startswith(
        f"helexa {package.__version__} ({shown}protocol {VERSION}, "
    )
