"""The outputs of a stack on Kubernetes: those of every stack, and the access to its cluster. Pure."""

from collections.abc import Collection

from infra import names
from infra.config import addresses
from infra.config.stack import ClusterStackConfig
from infra.nemo.wiring import nim_entry
from infra.platform import endpoints, identities
from infra.platform.credentials import credential_names, required
from infra.platform.namespaces import pod_security
from infra.platform.routing.route_table import public_urls
from nemostack.outputs import ClusterOutputs, StackOutputs

LOG_LINES = "200"


def outputs(
    config: ClusterStackConfig, secrets: Collection[str], kubeconfig: str | None, context: str | None
) -> StackOutputs:
    """Return the outputs. `secrets`: names of the secret settings; `kubeconfig`, `context`: of an adopted cluster."""
    address_of = services(config)
    targets = config.customizer.targets if config.services.customizer else ()
    tuned = next((target for target in targets if target.base_model == config.nims[0].model), None)
    kubectl = ["kubectl", *(["--kubeconfig", kubeconfig] if kubeconfig else [])]
    kubectl += ["--context", context] if context else []
    return StackOutputs(
        target=config.target,
        **public_urls(config),
        nim_internal_url=nim_entry(config),
        judge_url=config.judge.url or nim_entry(config),
        judge_model=config.judge.model or config.nims[0].model,
        base_model=config.nims[0].model,
        customization_config=tuned.templates[0].name if tuned else "",
        log_commands={
            key: [*kubectl, "logs", "-n", namespace, f"service/{service}", "--all-containers", f"--tail={LOG_LINES}"]
            for key, (namespace, service, _) in address_of.items()
        },
        cluster=ClusterOutputs(
            kubeconfig=kubeconfig,
            context=context,
            namespaces=sorted(pod_security(config)),
            adopted_namespaces=sorted(config.namespaces.adopt),
            existing_claims=[
                f"{addresses.namespace(config, nim)}/{nim.cache.existing_claim}"
                for nim in config.nims
                if nim.cache.existing_claim
            ],
            services={key: f"{namespace}/{service}:{port}" for key, (namespace, service, port) in address_of.items()},
            prefixes={prefix: s.key for s in addresses.services(config) for prefix in s.prefixes},
            secrets=expected_secrets(config, secrets),
            nims={nim.name: addresses.namespace(config, nim) for nim in config.nims},
        ),
    )


def services(config: ClusterStackConfig) -> dict[str, tuple[str, str, int]]:
    """Service -> namespace, Service, port. `nim` is what nim_url leads to."""
    address_of = {s.key: (addresses.namespace(config, s), s.name, s.port) for s in addresses.services(config)}
    first = config.nims[0]
    address_of["nim"] = address_of.get(
        names.NIM_PROXY.key, (addresses.namespace(config, first), first.name, names.NIM_PORT)
    )
    address_of |= {
        f"nim-{nim.name}": (addresses.namespace(config, nim), nim.name, names.NIM_PORT) for nim in config.nims[1:]
    }
    if config.mlflow.mode == "install":
        address_of["mlflow"] = (names.MLFLOW_NAMESPACE, names.MLFLOW_SERVICE, names.MLFLOW_PORT)
    return address_of


def expected_secrets(config: ClusterStackConfig, secrets: Collection[str]) -> dict[str, list[str]]:
    """Namespace -> Secrets that must be there, whether we make them or the user did."""
    secrets_of = {
        where: list(secret_names) for where, secret_names in required(config, credential_names(config, secrets)).items()
    }
    for database in endpoints.databases(config).values():
        for where in endpoints.readers(config, database):
            secrets_of.setdefault(where, []).append(database.secret)
    if (bucket := endpoints.bucket(config)) and bucket.secret:
        for where in identities.key_holders(config):
            secrets_of.setdefault(where, []).append(bucket.secret)
    if (hosted := config.guardrails.nvidia_api_secret) and config.services.guardrails:
        secrets_of.setdefault(addresses.namespace(config, names.GUARDRAILS), []).append(hosted)
    return {where: sorted(set(secret_names)) for where, secret_names in secrets_of.items()}
