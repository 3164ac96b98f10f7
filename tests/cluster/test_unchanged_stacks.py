"""An unchanged stack shows no change, whatever it is made of: neither a second preview nor a refresh.

The rows cover every pair of values of target, layout, kind of Postgres and way of a NIM (`test_every_pair_...` counts
them), which is where two parts of the program meet. All 24 combinations would take six times as long and could only
find what needs three of them at once. Three pairs come from stacks that other tests bring up and look at in the same
way. Targets are those that need no cloud. With bundled databases the Evaluator needs the layout `single`, so the row
`per-service` is without it.
"""

import itertools
from typing import Any

import pytest

from tests.cluster.support import NIM, assert_healthy

pytestmark = pytest.mark.slow

VALUES = {
    "target": ("existing", "minikube"),
    "layout": ("per-service", "single"),
    "postgres": ("cloudnative-pg", "external", "bundled"),
    "deploy": ("chart", "operator"),
}
ROWS = [
    ("minikube", "per-service", "cloudnative-pg", "chart"),
    ("minikube", "single", "external", "operator"),
    ("existing", "single", "bundled", "chart"),
    ("minikube", "per-service", "bundled", "operator"),
]
ELSEWHERE = [
    ("existing", "per-service", "cloudnative-pg", "chart"),  # test_stack.py
    ("existing", "single", "cloudnative-pg", "operator"),  # test_layouts.py, test_layout_single_...
    ("existing", "per-service", "external", "chart"),  # test_layouts.py, test_namespaces_with_secrets_...
]


def pairs(row: tuple[str, ...]) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    """Return the pairs of named values in a row."""
    return set(itertools.combinations(zip(VALUES, row, strict=True), 2))


def test_every_pair_of_values_is_in_a_row() -> None:
    wanted = {pair for row in itertools.product(*VALUES.values()) for pair in pairs(row)}
    assert {pair for row in [*ROWS, *ELSEWHERE] for pair in pairs(row)} == wanted
    for row in [*ROWS, *ELSEWHERE]:
        others = [pairs(other) for other in [*ROWS, *ELSEWHERE] if other != row]
        assert pairs(row) - set().union(*others) or row in ELSEWHERE, f"{row} adds nothing"


def settings(target: str, layout: str, postgres: str, deploy: str) -> dict[str, Any]:
    """Return the settings of a row."""
    chosen: dict[str, Any] = {
        "target": target,
        "layout": layout,
        "postgres": {"kind": postgres},
        "nims": [{**NIM, "deploy": deploy}],
    }
    if target == "minikube":
        chosen["minikube"] = {"context": "simulated"}
    if postgres == "external":
        chosen["postgres"]["external"] = {"host": "10.1.2.3"}
    if postgres == "bundled" and layout == "per-service":
        chosen["services"] = {"evaluator": False}
    if deploy == "operator":
        chosen["prerequisites"] = {"nim_operator": "install"}
    return chosen


@pytest.mark.parametrize(
    "row", [pytest.param(row, id="-".join(row), marks=pytest.mark.xdist_group("-".join(row))) for row in ROWS]
)
def test_a_second_preview_and_a_refresh_find_nothing(make, control_plane, row):
    stack = make(**settings(*row))
    stack.up()
    if row[2] != "external":  # whose Secrets are the user's, and not there
        assert_healthy(control_plane)
    assert stack.preview().changes == {}
    assert stack.refresh().changes == {}
    assert stack.preview().changes == {}, "what the refresh has read is what the program says"
