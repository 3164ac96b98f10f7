"""Namespaces of a stack, as they follow from its settings. Pure.

The rules judge them while there is no topology yet, and the topology takes them from here; everybody else asks that.
"""

from infra import names
from infra.config.nemo import Nim
from infra.config.stack import ClusterStackConfig
from infra.names import Service


def find_namespace(layout: str, service: Service | Nim) -> str:
    """Return the namespace of a service or NIM. Those of the platform are in its own, in either layout."""
    if service is names.NEMO_PLATFORM or (isinstance(service, Nim) and service.deploy == "platform"):
        return names.NEMO_PLATFORM.namespace
    if layout == "single":
        return names.RELEASE
    return service.namespace if isinstance(service, Service) else service.name


def list_workload_namespaces(config: ClusterStackConfig) -> tuple[str, ...]:
    """Return the namespaces of the NeMo services, NIMs and MLflow, each once, in order of appearance."""
    listed = [find_namespace(config.layout, service) for service in config.running]
    listed += [find_namespace(config.layout, nim) for nim in config.nims]
    listed += [names.MLFLOW_NAMESPACE] if config.mlflow.mode == "install" else []
    return tuple(dict.fromkeys(listed))


def list_foundation(config: ClusterStackConfig) -> dict[str, str]:
    """Return the namespaces of operators, databases and the object store -> Pod Security level to enforce there.

    Device plugins, Volcano's scheduler and the node exporter mount host paths, which only `privileged` admits.
    The pods of gateways are made by their controllers, for which `baseline` is safe to assume; all others are
    restricted.
    """
    software, postgres, routes = config.prerequisites, config.postgres, config.routes
    gateway = routes.kind == "gateway" and routes.gateway.existing is None
    levels = {
        names.GPU_NAMESPACE: ("privileged", config.installs_gpu_software),
        names.VOLCANO_NAMESPACE: ("privileged", software.volcano == "install"),
        names.CERT_MANAGER_NAMESPACE: ("restricted", software.cert_manager == "install"),
        names.NIM_OPERATOR_NAMESPACE: ("restricted", software.nim_operator == "install"),
        names.POSTGRES_OPERATOR_NAMESPACE: (
            "restricted",
            postgres.kind == "cloudnative-pg" and postgres.operator == "install",
        ),
        names.POSTGRES_NAMESPACE: ("restricted", postgres.kind == "cloudnative-pg"),
        names.OBJECT_STORE_NAMESPACE: ("restricted", config.object_store.kind == "in-cluster"),
        names.ENVOY_NAMESPACE: (
            "baseline",
            gateway and routes.gateway.controller == "envoy" and routes.gateway.install,
        ),
        names.GATEWAY_NAMESPACE: ("baseline", gateway or routes.merges_by_master),
        config.observability.namespace: ("privileged", config.observability.prometheus == "install"),
    }
    return {namespace: level for namespace, (level, needed) in levels.items() if needed}
