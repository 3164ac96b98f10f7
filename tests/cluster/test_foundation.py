"""Parts of the foundation under the real engine: software that is to be adopted and is not there, and passwords."""

import json

import pytest

from nemostack.clone import ROOT
from simulator.control_plane import ControlPlane
from simulator.pulumi_stack import begin_stack

IMPORTS = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import json
from pathlib import Path
import pulumi
from infra import config
from infra.platform.helm import ChartStore
from infra.platform.monitoring import Prometheus, PrometheusArgs
from infra.platform.passwords import GeneratedPassword
from infra.platform.postgres import Postgres, PostgresArgs
from infra.platform.prerequisites import Prerequisites, PrerequisitesArgs
from infra.platform.routing.component import Routes, RoutesArgs
from infra.topology import resolve_topology
"""
ADOPTED = """
said = {
    "target": "existing",
    "ngc_api_key": "nvapi-only-for-tests",
    "storage": {"rwx_class_name": "shared"},
    "services": {"customizer": False},
    **SECTIONS,
}
settings = config.load({f"nemostack:{k}": v if isinstance(v, str) else json.dumps(v) for k, v in said.items()})
charts = ChartStore(settings.charts, Path("/"), None)
topology = resolve_topology(settings)
needed = Prerequisites("prerequisites", PrerequisitesArgs(config=settings, topology=topology, charts=charts))
rest = {"charts": charts, "after": needed.ready}
Postgres(
    "postgres",
    PostgresArgs(settings=settings.postgres, databases=topology.databases, mlflow_logins=False, **rest),
)
Prometheus("prometheus", PrometheusArgs(settings=settings.observability, cluster=settings.cluster, **rest))
Routes("routes", RoutesArgs(settings=settings.routes, target="existing", topology=topology, namespaces={}, **rest))
"""
PASSWORD = """
pulumi.export("password", GeneratedPassword("login", length=24).value)
"""


@pytest.fixture
def stack(control_plane: ControlPlane, tmp_path):
    return begin_stack(tmp_path / "program", control_plane.kubeconfig, IMPORTS)


def sections(**said):
    """Nothing to be looked for but what is said."""
    prerequisites = {"volcano": "skip", "cert_manager": "skip"} | said.pop("prerequisites", {})
    external = {"kind": "external", "external": {"host": "postgres.example.com"}}
    return {"postgres": external, "prerequisites": prerequisites, **said}


@pytest.mark.parametrize(
    ("said", "setting", "kind"),
    [
        ({"prerequisites": {"volcano": "adopt"}}, "prerequisites.volcano.adopt", "podgroups.scheduling.volcano.sh"),
        (
            {"prerequisites": {"cert_manager": "adopt"}},
            "prerequisites.cert_manager.adopt",
            "certificates.cert-manager.io",
        ),
        ({"postgres": {"operator": "adopt"}}, "postgres.operator.adopt", "clusters.postgresql.cnpg.io"),
        (
            {"observability": {"prometheus": "adopt"}},
            "observability.prometheus.adopt",
            "servicemonitors.monitoring.coreos.com",
        ),
        ({"routes": {"kind": "ingress", "domain": "example.com"}}, "routes.ingress.controller", "traefik"),
    ],
)
def test_software_that_is_to_be_adopted_and_is_not_there_stops_the_preview(stack, said, setting, kind):
    # one at a time: the engine stops at the first that fails and may say nothing of the others
    stack.program(IMPORTS + ADOPTED.replace("SECTIONS", repr(sections(**said))))
    said = stack.preview(fails=True).output
    (line,) = [line for line in said.splitlines() if setting in line and "does not exist" in line]
    assert kind in line
    assert "Traceback" not in said


def test_a_password_is_made_once_and_lies_nowhere_in_plain_text(stack):
    stack.program(IMPORTS + PASSWORD)
    stack.up()
    password = stack.outputs()["password"]
    assert len(password) == 24
    assert password.isalnum()
    assert password not in json.dumps(stack.export())

    assert stack.up().changes == {}
    stack.refresh()
    assert stack.outputs()["password"] == password

    (urn,) = [made["urn"] for made in stack.resources() if made["urn"].endswith("::login")]
    stack.up("--replace", urn)
    assert stack.outputs()["password"] != password
