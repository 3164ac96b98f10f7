"""The tables in docs/kubernetes/nemo.md say what the program does."""

import re

from infra.nemo.services import NemoServices, NemoServicesArgs
from infra.nemo.values import Surroundings
from infra.nemo.wiring import wiring
from infra.platform import endpoints
from infra.platform.credentials import credential_names, required
from tests.unit.infra.cluster_support import ROOT, SECRETS, chart_store, config_for, of_type, run

PAGE = (ROOT / "docs" / "kubernetes" / "nemo.md").read_text()
CONFIG = config_for(
    "gke",
    services={"guardrails": True, "deployment_management": True, "nim_proxy": True},
    prerequisites={"nim_operator": "install"},
)


def test_wiring() -> None:
    rows = dict(re.findall(r"^\| `([\w.-]+)` \| `(\S+)` \|$", PAGE, re.MULTILINE))
    assert rows == wiring(CONFIG)


def test_secrets_of_each_namespace() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| [^`|]+(?:\([^|]*\))? \| (.+) \|$", PAGE, re.MULTILINE)
    said = {namespace: set(re.findall(r"`([\w-]+)`", secrets)) for namespace, secrets in rows}
    credentials = credential_names(CONFIG, SECRETS)
    true = {namespace: set(found) for namespace, found in required(CONFIG, credentials).items()}
    for database in endpoints.databases(CONFIG).values():
        for namespace in endpoints.readers(CONFIG, database):
            true.setdefault(namespace, set()).add(database.secret)
    for namespace in endpoints.bucket_readers(CONFIG):
        true[namespace].add("object-store")
    args = NemoServicesArgs(config=CONFIG, charts=chart_store(), around=Surroundings(credentials=credentials))
    made = run(
        lambda: NemoServices("services", args),
        outputs={"pulumi-python:dynamic/nemostack:GeneratedPassword": {"value": "generated"}},
    )
    for found in of_type(made, ":Secret").values():
        true[found.inputs["metadata"]["namespace"]].add(found.inputs["metadata"]["name"])
    assert said == true
