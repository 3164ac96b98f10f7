"""Combinations of settings that cannot work, each refused before anything is created.

A rule reads the whole configuration and yields problems, `path: what is wrong: what to do`. What one section can
judge alone is in its own model. Rules about GPU pools are in gpu.py, about what fits on them in
capacity.py, about routes in routes.py.
"""

import ipaddress
from collections.abc import Iterator
from datetime import date

from infra import names
from infra.config import kubernetes_versions
from infra.config.clusters import AksSettings, CloudCluster, GkeSettings
from infra.config.namespaces import list_foundation, list_workload_namespaces
from infra.config.rules.capacity import gpus
from infra.config.rules.gpu import pools
from infra.config.rules.platform import platform
from infra.config.rules.routes import route_rules
from infra.config.section import repeated
from infra.config.stack import ClusterStackConfig

GKE_WEEKLY_HOURS = 12
"""Shortest weekly window: 48 hours in 32 days ("Maintenance windows and exclusions", GKE documentation)."""


def broken_rules(config: ClusterStackConfig, secrets: set[str], today: date | None = None) -> list[str]:
    """All problems of a configuration.

    `secrets`: names of the secret settings that have a value. `today`: the date to judge versions of Kubernetes by;
    default: the current one.
    """
    return [
        *platform(config),
        *versions(config, today or kubernetes_versions.current_date()),
        *maintenance(config),
        *administrators(config),
        *(list(pools(config)) or gpus(config)),  # the GPUs of broken pools cannot be judged
        *naming(config),
        *credentials(config, secrets),
        *prerequisites(config),
        *route_rules(config),
        *volumes(config),
        *shared_caches(config),
        *services(config),
        *object_store(config, secrets),
        *observability(config),
        *security(config),
    ]


def versions(config: ClusterStackConfig, today: date) -> Iterator[str]:
    """A new cluster needs a version of Kubernetes that its cloud supports."""
    if isinstance(config.cluster, CloudCluster) and config.cluster.create:
        yield from kubernetes_versions.version_problems(config.target, config.cluster.kubernetes_version, today)


def maintenance(config: ClusterStackConfig) -> Iterator[str]:
    """Google wants 48 hours of maintenance within any 32 days, in which a weekly window opens four times."""
    cluster = config.cluster
    if isinstance(cluster, GkeSettings) and cluster.maintenance and cluster.maintenance.hours < GKE_WEEKLY_HOURS:
        yield f"gke.maintenance.hours: GKE needs {GKE_WEEKLY_HOURS} hours a week, not {cluster.maintenance.hours}: more"


def administrators(config: ClusterStackConfig) -> Iterator[str]:
    """A principal is an administrator once; the clouds refuse the same role for it twice."""
    cluster = config.cluster
    if not isinstance(cluster, CloudCluster):
        return
    for principal in repeated(cluster.principals):
        yield f"{config.target}.admins: {principal} is listed twice: list it once"


def naming(config: ClusterStackConfig) -> Iterator[str]:
    """Names that must differ, or must exist."""
    yield from namespaces(config)
    yield from adopted_namespaces(config)
    for name in repeated(nim.name for nim in config.nims):
        yield f"nims: duplicate name {name!r}: names must be unique"
    known = [pool.name for pool in config.pools]
    named = [(f"nims.{index}.pool", nim.pool) for index, nim in enumerate(config.nims)]
    jobs = [("customizer.pool", config.customizer.pool), ("platform.jobs.pool", config.platform.jobs.pool)]
    for path, pool in [*named, *jobs]:
        if pool is not None and pool not in known:
            remedy = f"one of {', '.join(known)}" if known else "leave it out: an adopted cluster has no pools of ours"
            yield f"{path}: there is no GPU pool {pool!r}: {remedy}"


def namespaces(config: ClusterStackConfig) -> Iterator[str]:
    """Namespaces of NIMs and of Prometheus must not be those of something else, whether or not that runs today."""
    routes, watched = config.routes, config.observability
    others = [watched.namespace, routes.proxy_namespace, (routes.gateway.existing or "").split("/")[0]]
    others += [config.prerequisites.nim_operator_namespace, config.postgres.operator_namespace]
    taken = {*names.OWN_NAMESPACES, *names.PROXY_NAMESPACES.values(), *others, *config.security.clients}
    for index, nim in enumerate(config.nims):
        # the Services of the platform begin with the release's name, and share a namespace in layout single
        if nim.name in taken or belongs_to_kubernetes(nim.name) or nim.name.startswith(f"{names.RELEASE}-"):
            yield f"nims.{index}.name: {nim.name!r} is the namespace of something else: choose another name"
    installed = watched.prometheus == "install"
    if watched.namespace in names.OWN_NAMESPACES or (installed and belongs_to_kubernetes(watched.namespace)):
        yield (
            f"observability.namespace: {watched.namespace!r} is the namespace of something else: choose one for "
            "Prometheus and Grafana alone"
        )


def adopted_namespaces(config: ClusterStackConfig) -> Iterator[str]:
    """Namespaces to adopt are those that the stack would make."""
    adopted = config.namespaces.adopt
    for name in repeated(adopted):
        yield f"namespaces.adopt: {name!r} is listed twice: list it once"
    own = {*list_workload_namespaces(config), *list_foundation(config)}
    for index, name in enumerate(adopted):
        if name not in own:
            known = ", ".join(sorted(own))
            yield f"namespaces.adopt.{index}: {name!r} is not a namespace of this stack: one of {known}"


def belongs_to_kubernetes(namespace: str) -> bool:
    """Whether every cluster has the namespace from the start."""
    return namespace == "default" or namespace.startswith("kube-")


def credentials(config: ClusterStackConfig, secrets: set[str]) -> Iterator[str]:
    """A key of NGC is needed for charts and images, unless both come from elsewhere."""
    if "ngc_api_key" in secrets:
        return
    settings = config.credentials
    remedy = "pulumi config set --secret nemostack:ngc_api_key"
    if config.charts.source is None:
        yield f"ngc_api_key: missing, and NVIDIA's charts need it: {remedy}, or charts.source"
    if settings.ngc_secret is None:
        yield f"credentials.ngc_secret: missing, and so is ngc_api_key: {remedy}, or name an existing Secret"
    if settings.image_pull_secret is None:
        yield f"credentials.image_pull_secret: missing, and so is ngc_api_key: {remedy}, or name an existing Secret"


def prerequisites(config: ClusterStackConfig) -> Iterator[str]:
    """Software that others of the stack need."""
    software = config.prerequisites
    if software.volcano == "skip" and config.services.customizer:
        yield (
            "prerequisites.volcano: the Customizer crashes without it: install or adopt, or services.customizer: false"
        )
    users = [f"nims.{index}.deploy: operator" for index, nim in enumerate(config.nims) if nim.deploy == "operator"]
    users += ["services.deployment_management"] if config.services.deployment_management else []
    if software.nim_operator == "skip" and users:
        yield f"prerequisites.nim_operator: {users[0]} needs it: install or adopt"
    own = {
        "prerequisites.nim_operator": (
            software.nim_operator,
            software.nim_operator_namespace,
            names.NIM_OPERATOR_NAMESPACE,
        ),
        "postgres.operator": (
            config.postgres.operator,
            config.postgres.operator_namespace,
            names.POSTGRES_OPERATOR_NAMESPACE,
        ),
    }
    for path, (mode, namespace, own_namespace) in own.items():
        if mode == "install" and namespace is not None:
            yield (
                f"{path}_namespace: the operator that this stack installs is in {own_namespace}: leave it out, or "
                "adopt one"
            )
    if software.nim_operator == "install" and software.cert_manager == "skip":
        yield "prerequisites.cert_manager: the NIM operator's webhook needs it: install or adopt"
    if config.routes.tls.kind in ("self-signed", "letsencrypt", "issuer") and software.cert_manager == "skip":
        yield f"prerequisites.cert_manager: routes.tls.kind: {config.routes.tls.kind} needs it: install or adopt"
    if config.routes.kind == "gateway" and software.gateway_api == "skip":
        yield "prerequisites.gateway_api: routes.kind: gateway needs it: install or adopt"
    from_registry = (config.charts.source or "").startswith("oci://")
    own_envoy = config.routes.gateway.controller == "envoy" and config.routes.gateway.install
    if config.routes.kind == "gateway" and from_registry and (software.gateway_api == "install" or own_envoy):
        path = "prerequisites.gateway_api" if software.gateway_api == "install" else "routes.gateway.install"
        remedy = "adopt" if software.gateway_api == "install" else "false"
        yield (
            f"{path}: the CRDs come from manifests, which a registry in charts.source cannot hold: apply them "
            f"yourself and set {remedy}, or name a directory in charts.source"
        )


def security(config: ClusterStackConfig) -> Iterator[str]:
    """Networks that are none."""
    lists = {
        "security.internet_cidrs": config.security.internet_cidrs,
        "security.api_server_cidrs": config.security.api_server_cidrs,
        "routes.load_balancer_cidrs": config.routes.load_balancer_cidrs,
    }
    if isinstance(config.cluster, CloudCluster):
        lists[f"{config.target}.authorized_networks"] = config.cluster.authorized_networks
    for path, cidrs in lists.items():
        for index, cidr in enumerate(cidrs):
            try:
                ipaddress.ip_network(cidr)
            except ValueError as error:
                yield f"{path}.{index}: {error}"


def volumes(config: ClusterStackConfig) -> Iterator[str]:
    """Volumes that several pods write need a class that can."""
    is_created = isinstance(config.cluster, CloudCluster) and config.cluster.rwx != "none"
    if is_created or config.storage.rwx_class_name or config.target == "minikube":
        return  # minikube is one node, where any volume serves several pods
    remedy = "set storage.rwx_class_name to a class that supports it"
    if config.product == "platform":
        yield f"storage.rwx_class_name: the NeMo Platform's pods and jobs share a ReadWriteMany volume: {remedy}"
    if config.services.evaluator:
        yield f"storage.rwx_class_name: the Evaluator's jobs share a ReadWriteMany volume: {remedy}"
    if config.services.customizer:
        yield f"storage.rwx_class_name: the Customizer's jobs share a ReadWriteMany volume: {remedy}"
    for index, nim in enumerate(config.nims):
        if nim.cache.access_mode == "ReadWriteMany" and nim.cache.existing_claim is None:
            yield f"nims.{index}.cache.access_mode: ReadWriteMany needs a class for it: {remedy}, or ReadWriteOnce"


def shared_caches(config: ClusterStackConfig) -> Iterator[str]:
    """Replicas of the NIM operator share the volume of their NIMCache, wherever they run."""
    for index, nim in enumerate(config.nims):
        most = nim.autoscaling.max if nim.autoscaling else nim.replicas
        alone = nim.cache.access_mode == "ReadWriteOnce" and nim.cache.existing_claim is None
        if nim.deploy == "operator" and most > 1 and alone and config.target != "minikube":
            yield (
                f"nims.{index}.cache.access_mode: {most} replicas of the NIM operator share one volume, which one node "
                "can mount: ReadWriteMany, or deploy: chart"
            )


def services(config: ClusterStackConfig) -> Iterator[str]:
    """Services that need each other, and NIMs that cannot get their adapters."""
    on = config.services
    needs = {
        "customizer": ("data_store", "entity_store"),
        "evaluator": ("data_store", "entity_store"),
        "entity_store": ("data_store",),
        "guardrails": ("entity_store",),
        "deployment_management": ("entity_store",),
    }
    for service, needed in needs.items():
        missing = [other for other in needed if not getattr(on, other)]
        if getattr(on, service) and missing:
            yield f"services.{service}: needs {' and '.join(missing)}: enable it, or disable {service}"
    for index, nim in enumerate(config.nims):
        path = f"nims.{index}.lora.peft_source"
        if nim.lora is None or nim.deploy == "platform":
            continue
        by_url = not nim.lora.peft_source.startswith("/")
        if by_url and nim.major >= 2:
            yield f"{path}: NIM {nim.tag} loads adapters only from a directory: a 1.x tag, or an absolute path"
        if nim.lora.peft_source == "entity-store" and not on.entity_store:
            yield f"{path}: the Entity Store is disabled: services.entity_store: true, or an absolute path"
    models = {nim.model for nim in config.nims}
    for index, target in enumerate(config.customizer.targets):
        if on.customizer and target.base_model not in models:
            yield (
                f"customizer.targets.{index}.base_model: no NIM serves {target.base_model}, so its adapters cannot be "
                "used: add a NIM, or remove the target"
            )
    if config.postgres.kind == "bundled" and config.layout == "per-service" and on.evaluator:
        yield (
            "postgres.kind: the Evaluator's jobs service reads the Entity Store's bundled database, in another "
            "namespace in layout per-service: cloudnative-pg, or layout: single"
        )


def object_store(config: ClusterStackConfig, secrets: set[str]) -> Iterator[str]:
    """An external store needs keys, unless pods get them from the cloud."""
    store = config.object_store
    both = {"object_store_access_key", "object_store_secret_key"} <= secrets
    if store.kind in ("s3", "gcs") and store.secret is None and not both:
        yield (
            f"object_store.secret: {store.kind} needs keys: name an existing Secret, or pulumi config set --secret "
            "nemostack:object_store_access_key and nemostack:object_store_secret_key"
        )
    if store.kind == "azure" and config.mlflow.mode == "install":
        cluster = config.cluster
        if not isinstance(cluster, AksSettings):
            yield "object_store.kind: azure needs the workload identity of an AKS cluster: s3, or in-cluster"
        elif config.mlflow.image is None:
            yield (
                "mlflow.image: the chart's image lacks azure-identity, without which MLflow cannot open a container of "
                "Azure: build one as docs/kubernetes/mlflow.md says and name it, or object_store.kind: in-cluster"
            )
        if isinstance(cluster, AksSettings) and cluster.create and store.resource_group is None:
            yield "object_store.resource_group: missing: the account is not in a new cluster's group: set the account's"
    if store.kind == "none" and config.mlflow.mode == "install" and config.mlflow.replicas > 1:
        yield "mlflow.replicas: replicas need an object store for artifacts: object_store.kind, or replicas: 1"
    if config.postgres.kind == "bundled" and config.mlflow.mode == "install" and config.mlflow.replicas > 1:
        yield "mlflow.replicas: postgres.kind: bundled lets MLflow store runs in a file: cloudnative-pg, or replicas: 1"


def observability(config: ClusterStackConfig) -> Iterator[str]:
    """The dashboard and the monitors are for a Prometheus that is there."""
    for index, nim in enumerate(config.nims):
        if nim.autoscaling and config.observability.prometheus == "skip":
            yield f"nims.{index}.autoscaling: needs metrics of Prometheus: observability.prometheus: install or adopt"
