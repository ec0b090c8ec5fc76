"""What the units take at rest: bench/memory.py measures each, and the journal stays empty."""

import re

import pytest

from tests.systemd.machine import wait_for

pytestmark = [pytest.mark.root, pytest.mark.full]

ROW = re.compile(r"^(\S+) +(\d+) +([0-9.]+) +([0-9.]+) +([0-9.]+)$", re.MULTILINE)
UNITS = {"ouroboros-api", "ouroboros-worker", "ouroboros-caddy", "ouroboros-web@main"}
# In MB: what was seen and a sixth more (docs/decisions/0044).
AT_MOST = {"ouroboros-api": 140.0, "ouroboros-worker": 175.0}


def test_the_measurement_at_rest_names_each_unit_and_counts_the_journals_lines(host):
    check = "./scripts/runtime-health-check.sh"
    wait_for(lambda: host.run_unchecked(check).returncode == 0, 60, "not everything is healthy")
    output = host.run(".venv/bin/python bench/memory.py --seconds 60")
    rows = {name.removesuffix(".service"): row for name, *row in ROW.findall(output)}
    assert set(rows) > UNITS
    assert any(name.startswith("postgresql@") for name in rows)
    processes, size, _, _ = rows.pop("all")
    assert int(processes) == sum(int(row[0]) for row in rows.values())
    # Each row is rounded.
    assert abs(float(size) - sum(float(row[1]) for row in rows.values())) < 0.1 * len(rows)
    for name, bound in AT_MOST.items():
        assert float(rows[name][1]) <= bound, output
    assert output.endswith("0 lines in the journal in 60 s\n")
