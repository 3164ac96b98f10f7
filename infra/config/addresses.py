"""Services that run, their namespaces and their URLs, as they follow from the settings. Pure.

URLs can thus be wired across namespaces before anything exists, and the rules of the settings can judge namespaces.
"""

from infra import names
from infra.config.nemo import Nim
from infra.config.stack import ClusterStackConfig
from infra.names import Service


def services(config: ClusterStackConfig) -> tuple[Service, ...]:
    """Return the services that run. The Evaluator brings the jobs service (core) along."""
    enabled = {key for key in type(config.services).model_fields if getattr(config.services, key)}
    enabled |= {"core"} if "evaluator" in enabled else set()
    return tuple(service for service in names.PLATFORM if service.key in enabled)


def namespace(config: ClusterStackConfig, service: Service | Nim) -> str:
    """Namespace of a service or NIM."""
    if config.layout == "single":
        return names.RELEASE
    return service.namespace if isinstance(service, Service) else service.name


def namespaces(config: ClusterStackConfig) -> tuple[str, ...]:
    """Namespaces of the NeMo services, NIMs and MLflow, each once, in order of appearance."""
    listed = [namespace(config, service) for service in services(config)]
    listed += [namespace(config, nim) for nim in config.nims]
    listed += [names.MLFLOW_NAMESPACE] if config.mlflow.mode == "install" else []
    return tuple(dict.fromkeys(listed))


def foundation(config: ClusterStackConfig) -> dict[str, str]:
    """Namespaces of operators, databases and the object store -> Pod Security level to enforce there.

    Device plugins, Volcano's scheduler and the node exporter mount host paths, which only `privileged` admits.
    The pods of gateways are made by their controllers, for which `baseline` is safe to assume; all others are
    restricted.
    """
    software, postgres, routes = config.prerequisites, config.postgres, config.routes
    gateway = routes.kind == "gateway" and routes.gateway.existing is None
    master_ingress = routes.kind == "ingress" and routes.ingress.controller == "nginx-f5"
    levels = {
        names.GPU_NAMESPACE: ("privileged", software.gpu.mode == "install" and config.gpu_software != "provided"),
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
        names.GATEWAY_NAMESPACE: ("baseline", gateway or master_ingress),
        config.observability.namespace: ("privileged", config.observability.prometheus == "install"),
    }
    return {namespace: level for namespace, (level, needed) in levels.items() if needed}


def host(name: str, namespace: str) -> str:
    """DNS name of a Service that is valid in every namespace."""
    return f"{name}.{namespace}.svc.cluster.local"


def url(config: ClusterStackConfig, service: Service) -> str:
    """In-cluster URL of a service, without path."""
    return f"http://{host(service.name, namespace(config, service))}:{service.port}"


def nim_url(config: ClusterStackConfig, nim: Nim) -> str:
    """In-cluster URL of a NIM, without path. Its Service is called like the NIM, whichever way it is deployed."""
    return f"http://{host(nim.name, namespace(config, nim))}:{names.NIM_PORT}"


def mlflow_url(config: ClusterStackConfig) -> str | None:
    """In-cluster URL of MLflow, None without one."""
    if config.mlflow.mode == "adopt":
        return config.mlflow.url
    if config.mlflow.mode == "skip":
        return None
    return f"http://{host(names.MLFLOW_SERVICE, names.MLFLOW_NAMESPACE)}:{names.MLFLOW_PORT}"
