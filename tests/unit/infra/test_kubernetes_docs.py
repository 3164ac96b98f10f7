"""Tables in docs/kubernetes/ that say what the program does are what it does."""

import re
from typing import get_args

from infra import names
from infra.config.network import Gateway, Ingress, Tls
from infra.nemo.wiring import wiring
from infra.platform.routing import gateway, ingress
from infra.topology import resolve_topology
from nemostack.clone import ROOT
from tests.unit.infra.cluster_support import config_for

PAGES = ROOT / "docs" / "kubernetes"


def rows(page: str, header: str) -> list[list[str]]:
    """Cells of the table whose first line is `header`."""
    lines = (PAGES / page).read_text(encoding="utf-8").splitlines()
    found = []
    for line in lines[lines.index(header) + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_edges() -> None:
    config = config_for(
        "existing",
        observability={"prometheus": "install"},
        routes={"kind": "gateway", "domain": "ai.example.com"},
    )
    wanted = [
        [str(edge.consumer), str(edge.provider), ", ".join(map(str, edge.ports)) or "any", edge.why]
        for edge in resolve_topology(config).connections.edges
    ]
    assert rows("security.md", "| from | to | pod ports (TCP) | for |") == wanted


def test_wiring() -> None:
    services = {"guardrails": True, "deployment_management": True, "nim_proxy": True}
    config = config_for("existing", services=services, prerequisites={"nim_operator": "install"})
    shown = {path.strip("`"): address.strip("`") for path, address in rows("nemo.md", "| chart value | address |")}
    assert shown == wiring(resolve_topology(config))


def test_hosts_and_paths() -> None:
    config = config_for(
        "existing",
        product="platform",
        platform={"keep_microservices": True},
        services={"guardrails": True, "deployment_management": True},
        prerequisites={"nim_operator": "install"},
        routes={"kind": "gateway", "domain": "ai.example.com"},
    )
    said: dict[str, set[str]] = {}
    host = ""
    for cells in rows("routes.md", "| host | paths | service |"):
        host = cells[0].strip("`") or host
        said.setdefault(host, set()).update(re.findall(r"`(/[^`]*)`", cells[1]))
    wanted: dict[str, set[str]] = {}
    for route in resolve_topology(config).routing.routes:
        wanted.setdefault(route.host, set()).update(route.prefixes)
    for alone in ("data-store", "mlflow"):
        assert (said.pop(f"{alone}.ai.example.com"), wanted.pop(f"{alone}.ai.example.com")) == (set(), {"/"})
    assert said.pop("<nim>.ai.example.com") == set()
    assert wanted.pop("llama3-2-3b-instruct.ai.example.com") == set(names.NIM_PREFIXES)
    assert said == wanted


def test_every_controller_and_kind_of_certificate_is_there() -> None:
    header = "| `controller` | class | long responses | uploads | health checks | private address |"
    table = {cells[0].split("(")[0].strip().replace("`", ""): cells[1] for cells in rows("routes.md", header)}
    controllers = {
        f"{kind} {name}"
        for kind, section in (("gateway", Gateway), ("ingress", Ingress))
        for name in get_args(section.model_fields["controller"].annotation)
    }
    assert set(table) == controllers
    for name, usual in gateway.CONTROLLERS.items():
        assert f"`{usual.internal_class}`" in table[f"gateway {name}"] or name == "other"
        assert f"`{usual.external_class}`" in table[f"gateway {name}"] or name == "other"
    for name, usual_class in ingress.CLASSES.items():
        assert f"`{usual_class}`" in table[f"ingress {name}"]
    kinds = {cells[0].strip("`") for cells in rows("routes.md", "| `tls.kind` | effect |")}
    assert kinds == set(get_args(Tls.model_fields["kind"].annotation))


def test_local_ports() -> None:
    text = (PAGES / "routes.md").read_text(encoding="utf-8")
    for port in names.LOCAL_PORTS.values():
        assert str(port) in text
