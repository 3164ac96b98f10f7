"""Combinations of settings that cannot work, each refused before anything is created.

A rule reads the whole configuration and yields problems, `path: what is wrong: what to do`. What one section can
judge alone is in its own model.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator

from infra.config.clusters import AksSettings, CloudCluster, EksSettings, GkeSettings
from infra.config.gpus import GIB_PER_GPU, MACHINES, MIG_CAPABLE, Machine, accelerator
from infra.config.network import HOSTS
from infra.config.pools import GpuPool
from infra.config.stack import ClusterStackConfig

RESERVED = frozenset(
    {
        "nemo", "mlflow", "postgres", "object-store", "volcano-system", "cert-manager", "cnpg-system", "gpu-operator",
        "nim-operator", "envoy-gateway-system", "default",
    }
)  # fmt: skip
RESERVED_PREFIXES = ("nemo-", "kube-")
"""Namespaces of others, which a NIM's name, and so its namespace, must not be."""


def broken_rules(config: ClusterStackConfig, secrets: set[str]) -> list[str]:
    """All problems of a configuration. `secrets`: names of the secret settings that have a value."""
    pool_problems = list(pools(config))
    found = [*pool_problems, *names(config), *credentials(config, secrets), *prerequisites(config), *routes(config)]
    found += [
        *volumes(config),
        *shared_caches(config),
        *services(config),
        *object_store(config, secrets),
        *observability(config),
        *security(config),
    ]
    return found if pool_problems else [*found, *gpus(config)]  # GPUs of broken pools cannot be judged


def machines(config: ClusterStackConfig) -> list[tuple[GpuPool, Machine]]:
    """The pools with the machine types they resolve to. Raises ValueError for a pool that has none."""
    return [(pool, pool.resolve(config.target)) for pool in config.pools]


def pools(config: ClusterStackConfig) -> Iterator[str]:
    """GPU pools that the cloud would refuse."""
    cluster = config.cluster
    if not isinstance(cluster, CloudCluster):
        return
    for index, pool in enumerate(cluster.gpu_pools):
        path = f"{config.target}.gpu_pools.{index}"
        try:
            machine = pool.resolve(config.target)
        except ValueError as error:
            yield f"{path}: {error}"
            continue
        if pool.mig and machine.gpu not in MIG_CAPABLE:
            yield f"{path}.mig: {machine.gpu} has no MIG: take one of {', '.join(sorted(MIG_CAPABLE))}, or time_slicing"
        if isinstance(cluster, GkeSettings):
            if accelerator(machine.gpu) is None:
                there = sorted({known.gpu for known in MACHINES["gke"]})
                yield f"{path}.gpu: GKE has no {machine.gpu}: take one of {', '.join(there)}"
            if pool.mig and pool.mig.strategy == "mixed" and pool.driver == "cloud":
                yield f"{path}.mig.strategy: GKE offers partitions as nvidia.com/gpu: single, or driver: none"
        if isinstance(cluster, AksSettings) and len(pool.name.replace("-", "")) > 12:
            yield f"{path}.name: AKS allows 12 letters and digits, {pool.name!r} has more: shorten it"
        sliced = "time_slicing" if pool.time_slicing else "mig"
        by_operator = (isinstance(cluster, EksSettings) and pool.mig) or (
            isinstance(cluster, EksSettings | AksSettings) and pool.time_slicing
        )
        if by_operator and config.prerequisites.gpu.software != "gpu-operator":
            yield f"{path}.{sliced}: the GPU operator sets it here: prerequisites.gpu.software: gpu-operator"
        if isinstance(cluster, EksSettings) and pool.driver == "none":
            yield f"{path}.driver: the NVIDIA images of EKS bring it, the GPU operator must not: driver: cloud"
        if pool.name == "system" and not isinstance(cluster, EksSettings):
            yield f"{path}.name: 'system' is the pool without GPU: take another name"
    if isinstance(cluster, AksSettings):
        for name in repeated({pool.name: pool.name.replace("-", "") for pool in cluster.gpu_pools}.values()):
            yield f"aks.gpu_pools: two names are both {name!r} on AKS, which knows no hyphens: rename one"
    for name in repeated(pool.name for pool in cluster.gpu_pools):
        yield f"{config.target}.gpu_pools: {name!r} is there twice: give each pool a name of its own"
    if isinstance(cluster, AksSettings):
        yield from aks_drivers(config, cluster)


def aks_drivers(config: ClusterStackConfig, cluster: AksSettings) -> Iterator[str]:
    """On AKS either the node image or the GPU operator installs the driver, never both, never neither."""
    operator = config.prerequisites.gpu.software == "gpu-operator"
    for index, pool in enumerate(cluster.gpu_pools):
        path = f"aks.gpu_pools.{index}.driver"
        if operator and pool.driver != "none":
            yield f"{path}: the GPU operator on AKS brings the driver and collides with the cloud's: driver: none"
        if not operator and pool.driver == "none":
            yield f"{path}: nothing installs the driver: driver: cloud, or prerequisites.gpu.software: gpu-operator"


def names(config: ClusterStackConfig) -> Iterator[str]:
    """Names that must differ, or must exist."""
    for name in repeated(nim.name for nim in config.nims):
        yield f"nims: {name!r} is there twice: give each NIM a name of its own"
    for index, nim in enumerate(config.nims):
        if nim.name in RESERVED or nim.name.startswith(RESERVED_PREFIXES):
            yield f"nims.{index}.name: {nim.name!r} is the namespace of another service: take another name"
    known = [pool.name for pool in config.pools]
    wanted = [(f"nims.{index}.pool", nim.pool) for index, nim in enumerate(config.nims)]
    for path, pool in [*wanted, ("customizer.pool", config.customizer.pool)]:
        if pool is not None and pool not in known:
            there = f"one of {', '.join(known)}" if known else "leave it out: an adopted cluster has no pools of ours"
            yield f"{path}: there is no GPU pool {pool!r}: {there}"


def credentials(config: ClusterStackConfig, secrets: set[str]) -> Iterator[str]:
    """A key of NGC is needed for charts and images, unless both come from elsewhere."""
    if "ngc_api_key" in secrets:
        return
    said = config.credentials
    remedy = "pulumi config set --secret nemostack:ngc_api_key"
    if config.charts.source is None:
        yield f"ngc_api_key: missing, and NVIDIA's charts need it: {remedy}, or charts.source"
    if said.ngc_secret is None:
        yield f"credentials.ngc_secret: missing, and so is ngc_api_key: {remedy}, or name an existing Secret"
    if said.image_pull_secret is None:
        yield f"credentials.image_pull_secret: missing, and so is ngc_api_key: {remedy}, or name an existing Secret"


def prerequisites(config: ClusterStackConfig) -> Iterator[str]:
    """Software that others of the stack need."""
    said = config.prerequisites
    if said.volcano == "skip" and config.services.customizer:
        yield (
            "prerequisites.volcano: the Customizer crashes without it: install or adopt, or switch it off by "
            "services.customizer: false"
        )
    users = [f"nims.{index}.deploy: operator" for index, nim in enumerate(config.nims) if nim.deploy == "operator"]
    users += ["services.deployment_management"] if config.services.deployment_management else []
    if said.nim_operator == "skip" and users:
        yield f"prerequisites.nim_operator: {users[0]} needs it: install or adopt"
    if said.nim_operator == "install" and said.cert_manager == "skip":
        yield "prerequisites.cert_manager: the NIM operator's webhook needs it: install or adopt"
    if config.routes.tls.kind in ("self-signed", "letsencrypt", "issuer") and said.cert_manager == "skip":
        yield f"prerequisites.cert_manager: routes.tls.kind: {config.routes.tls.kind} needs it: install or adopt"
    if config.routes.kind == "gateway" and said.gateway_api == "skip":
        yield "prerequisites.gateway_api: routes.kind: gateway needs it: install or adopt"
    from_registry = (config.charts.source or "").startswith("oci://")
    own_envoy = config.routes.gateway.controller == "envoy" and config.routes.gateway.install
    if config.routes.kind == "gateway" and from_registry and (said.gateway_api == "install" or own_envoy):
        path = "prerequisites.gateway_api" if said.gateway_api == "install" else "routes.gateway.install"
        remedy = "adopt" if said.gateway_api == "install" else "false"
        yield (
            f"{path}: the kinds come from manifests, which charts.source, a registry, does not hold: apply them "
            f"yourself and set {remedy}, or name a folder in charts.source"
        )


def routes(config: ClusterStackConfig) -> Iterator[str]:
    """Hosts that collide, controllers that are not of this cloud, missing names."""
    said = config.routes
    if said.kind == "none":
        return
    for key in HOSTS:
        if said.host(key) is None:
            yield f"routes.hosts.{key}: missing: set routes.domain, or the host"
    if said.host("nemo") and said.host("nemo") == said.host("nim"):
        yield (
            "routes.hosts.nim: the same host as nemo, but /v1/models is the Entity Store's on one and NIM's on the "
            "other: give NIM a host of its own"
        )
    hosts = {key: said.host(key) for key in HOSTS}
    if hosts["nim"] == hosts["nemo"]:
        del hosts["nim"]
    for host in repeated([host for host in hosts.values() if host]):
        yield f"routes.hosts: {host!r} is there twice, and each takes the whole path space: a host of its own for each"
    own = {"gke": "gke", "aws-lbc": "eks"}
    if said.kind == "gateway":
        needed = own.get(said.gateway.controller)
        if needed and config.target not in (needed, "existing"):
            yield f"routes.gateway.controller: {said.gateway.controller} is on {needed} only: envoy works everywhere"
        if said.gateway.controller == "other" and not (said.gateway.class_name or said.gateway.existing):
            yield "routes.gateway.class_name: controller: other needs it, or routes.gateway.existing"
    if said.kind == "ingress":
        if said.ingress.controller == "alb" and config.target not in ("eks", "existing"):
            yield "routes.ingress.controller: alb is there on eks only: traefik works everywhere"
        if said.ingress.controller == "other" and not said.ingress.class_name:
            yield "routes.ingress.class_name: controller: other needs it"
    yield from nim_hosts(config)
    yield from certificates(config)
    yield from load_balancers(config)


def nim_hosts(config: ClusterStackConfig) -> Iterator[str]:
    """Each NIM has a host of its own below the domain."""
    said = config.routes
    taken = {said.host(key): key for key in HOSTS}
    for index, nim in enumerate(config.nims):
        host = f"{nim.name}.{said.domain}"
        if said.domain and host in taken:
            yield f"nims.{index}.name: its host {host} is routes.hosts.{taken[host]} already: another name or host"


def certificates(config: ClusterStackConfig) -> Iterator[str]:
    """Certificates that the load balancer cannot use, or that nobody would issue."""
    said = config.routes
    controller = said.gateway.controller if said.kind == "gateway" else said.ingress.controller
    kind = said.tls.kind
    on_aws = controller in ("alb", "aws-lbc")
    if kind == "acm" and not on_aws:
        yield f"routes.tls.kind: acm is for alb and aws-lbc only, not {controller}: another kind"
    if kind not in ("none", "acm") and on_aws:
        yield f"routes.tls.kind: {controller} takes certificates from ACM only, not {kind}: acm, or another controller"
    if kind == "letsencrypt" and said.internal:
        yield (
            "routes.tls.kind: Let's Encrypt cannot reach an internal load balancer: routes.internal: false, or an "
            "issuer of yours that proves ownership by DNS"
        )
    if said.kind == "gateway" and said.gateway.existing and kind not in ("none", "secret"):
        yield (
            f"routes.tls.kind: the Gateway {said.gateway.existing} has its certificate already, {kind} makes one: "
            "secret if it speaks https, else none"
        )


def load_balancers(config: ClusterStackConfig) -> Iterator[str]:
    """Policies must let load balancers in that reach pods directly, and only the user knows their networks."""
    said = config.routes
    controller = said.gateway.controller if said.kind == "gateway" else said.ingress.controller
    made_vpc = isinstance(config.cluster, EksSettings) and config.cluster.create and config.cluster.vpc_id is None
    if not config.security.network_policies or said.load_balancer_cidrs:
        return
    if controller == "gke" or (controller in ("alb", "aws-lbc") and not made_vpc):
        where = "the proxy-only subnet" if controller == "gke" else "the subnets of the load balancer"
        yield (
            f"routes.load_balancer_cidrs: missing: {controller} reaches pods from {where}, which policies must let in: "
            "name it, or security.network_policies: false"
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
    made = isinstance(config.cluster, CloudCluster) and config.cluster.rwx != "none"
    if made or config.storage.rwx_class_name or config.target == "minikube":
        return  # minikube is one node, where any volume serves several pods
    remedy = "name a class that can, storage.rwx_class_name"
    if config.services.evaluator:
        yield f"storage.rwx_class_name: the Evaluator's jobs share a ReadWriteMany volume: {remedy}"
    if config.services.customizer:
        yield f"storage.rwx_class_name: the Customizer's jobs share a ReadWriteMany volume: {remedy}"
    for index, nim in enumerate(config.nims):
        if nim.cache.access_mode == "ReadWriteMany" and nim.cache.existing_claim is None:
            yield f"nims.{index}.cache.access_mode: ReadWriteMany needs a class that can: {remedy}, or ReadWriteOnce"


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
        "customizer": ("data_store", "entity_store"), "evaluator": ("data_store", "entity_store"),
        "entity_store": ("data_store",), "guardrails": ("entity_store",), "deployment_management": ("entity_store",),
    }  # fmt: skip
    for service, needed in needs.items():
        missing = [other for other in needed if not getattr(on, other)]
        if getattr(on, service) and missing:
            yield f"services.{service}: needs {' and '.join(missing)}: switch it on, or {service} off"
    for index, nim in enumerate(config.nims):
        path = f"nims.{index}.lora.peft_source"
        if nim.lora is None:
            continue
        by_url = not nim.lora.peft_source.startswith("/")
        if by_url and nim.major >= 2:
            yield f"{path}: NIM {nim.tag} reads adapters from a folder only: a tag of 1.x, or an absolute folder"
        if nim.lora.peft_source == "entity-store" and not on.entity_store:
            yield f"{path}: there is no Entity Store: services.entity_store: true, or an absolute folder"
    models = {nim.model for nim in config.nims}
    for index, target in enumerate(config.customizer.targets):
        if on.customizer and target.base_model not in models:
            yield (
                f"customizer.targets.{index}.base_model: no NIM serves {target.base_model}, so its adapters cannot be "
                "used: add a NIM, or take the target out"
            )
    if config.postgres.kind == "bundled" and config.layout == "per-service" and on.evaluator:
        yield (
            "postgres.kind: the Evaluator's jobs service reads the Entity Store's bundled database, in another "
            "namespace in layout per-service: cloudnative-pg, or layout: single"
        )


def object_store(config: ClusterStackConfig, secrets: set[str]) -> Iterator[str]:
    """An external store needs keys, unless pods get them from the cloud."""
    said = config.object_store
    both = {"object_store_access_key", "object_store_secret_key"} <= secrets
    if said.kind in ("s3", "gcs") and said.secret is None and not both:
        yield (
            f"object_store.secret: {said.kind} needs keys: name an existing Secret, or pulumi config set --secret "
            "nemostack:object_store_access_key and nemostack:object_store_secret_key"
        )
    if said.kind == "azure" and config.mlflow.mode == "install":
        cluster = config.cluster
        if isinstance(cluster, GkeSettings | EksSettings):
            yield "object_store.kind: azure lets pods in by the identity of an AKS cluster: s3, or in-cluster"
        if isinstance(cluster, AksSettings) and cluster.create and said.resource_group is None:
            yield "object_store.resource_group: missing: the account is not in the group of a new cluster: name its own"
    if said.kind == "none" and config.mlflow.mode == "install" and config.mlflow.replicas > 1:
        yield "mlflow.replicas: replicas need an object store for artifacts: object_store.kind, or replicas: 1"
    if config.postgres.kind == "bundled" and config.mlflow.mode == "install" and config.mlflow.replicas > 1:
        yield "mlflow.replicas: MLflow keeps a file where postgres.kind is bundled: cloudnative-pg, or replicas: 1"


def observability(config: ClusterStackConfig) -> Iterator[str]:
    """The dashboard and the monitors are for a Prometheus that is there."""
    for index, nim in enumerate(config.nims):
        if nim.autoscaling and config.observability.prometheus == "skip":
            yield f"nims.{index}.autoscaling: scales by Prometheus: observability.prometheus: install or adopt"


def gpus(config: ClusterStackConfig) -> Iterator[str]:
    """GPUs that are too few on a node, or too small."""
    there = [(pool.name, machine.count, GIB_PER_GPU[machine.gpu]) for pool, machine in machines(config)]
    cluster = config.cluster
    if not isinstance(cluster, CloudCluster):
        if cluster.gpu_memory_gb is None:
            return  # judged by node labels while the program runs
        there = [("the cluster", 16, cluster.gpu_memory_gb)]
    for index, nim in enumerate(config.nims):
        fits = [(name, count, memory) for name, count, memory in there if nim.pool in (None, name)]
        if not fits:
            continue  # names() says that there is no such pool
        if all(count < nim.gpus for _, count, _ in fits):
            most = max(count for _, count, _ in fits)
            yield f"nims.{index}.gpus: no node has {nim.gpus} GPUs, the most is {most}: fewer gpus, or a bigger machine"
        elif all(memory < nim.min_gpu_memory_gb for _, _, memory in fits):
            most = max(memory for _, _, memory in fits)
            yield f"nims.{index}: needs {nim.min_gpu_memory_gb} GB on a GPU, the most is {most}: a bigger GPU"
    if not config.services.customizer:
        return
    fits = [(name, count, memory) for name, count, memory in there if config.customizer.pool in (None, name)]
    if not fits:
        return
    for number, target in enumerate(config.customizer.targets):
        for index, template in enumerate(target.templates):
            path = f"customizer.targets.{number}.templates.{index}"
            if all(memory < template.gpu_memory_gb for _, _, memory in fits):
                most = max(memory for _, _, memory in fits)
                yield (
                    f"{path}.gpu_memory_gb: LoRA needs {template.gpu_memory_gb} GB on a GPU, the most is {most}: "
                    "a pool with a bigger GPU"
                )
            elif all(count < template.gpus for _, count, _ in fits):
                yield f"{path}.gpus: no node has {template.gpus} GPUs: fewer gpus, or a bigger machine"


def repeated(values: Iterable[str]) -> list[str]:
    """Values that are there more than once."""
    return [value for value, times in Counter(values).items() if times > 1]
