"""The outputs of a stack on Kubernetes: those of every stack, and the access to its cluster. Pure."""

from collections.abc import Collection

from infra import names
from infra.config.nemo import Nim
from infra.config.stack import ClusterStackConfig
from infra.platform.credentials import CredentialNames, credential_names, required_secrets
from infra.topology import Topology
from infra.topology.addresses import Address, Addresses
from nemostack.entity_names import gateway_model
from nemostack.outputs import ClusterOutputs, StackOutputs

LOG_LINES = "200"


def outputs(
    config: ClusterStackConfig,
    topology: Topology,
    secrets: Collection[str],
    kubeconfig: str | None,
    context: str | None,
) -> StackOutputs:
    """Return the outputs. `secrets`: names of the secret settings; `kubeconfig`, `context`: of an adopted cluster.

    With both products they are the platform's, and those of the microservices are within.
    """
    microservices = of_microservices(config, topology, secrets, kubeconfig, context)
    if config.product != "platform":
        return microservices
    nim_url, base_model = topology.addresses.platform_nim.url, gateway_model(platform_nim(config).model)
    public = topology.routing.public_urls
    return microservices.model_copy(
        update={
            "product": "platform",
            "nemo_internal_url": topology.addresses.url(names.NEMO_PLATFORM),
            "data_store_url": "",
            "nim_url": topology.routing.platform_nim_url,
            "nim_internal_url": nim_url,
            "judge_url": config.judge.url or nim_url,
            "judge_model": config.judge.model or base_model,
            "base_model": base_model,
            "customization_config": base_model,
            "studio_url": f"{public['nemo_url']}/studio/",
            "microservices": microservices if config.services.running else None,
        }
    )


def platform_nim(config: ClusterStackConfig) -> Nim:
    """Return the NIM of the platform: the first that it deploys, else the first of all."""
    return next((nim for nim in config.nims if nim.deploy == "platform"), config.nims[0])


def microservices_nim(config: ClusterStackConfig) -> Nim:
    """Return the NIM of the microservices: the first that the platform does not deploy, else the first of all."""
    return next((nim for nim in config.nims if nim.deploy != "platform"), config.nims[0])


def of_microservices(
    config: ClusterStackConfig,
    topology: Topology,
    secrets: Collection[str],
    kubeconfig: str | None,
    context: str | None,
) -> StackOutputs:
    """Return the outputs of the microservices, and what both products have."""
    addresses, nim = topology.addresses, microservices_nim(config)
    entries, nim_url = list_entries(addresses), addresses.nim_entry.url
    targets = config.customizer.targets if config.services.customizer else ()
    tuned = next((target for target in targets if target.base_model == nim.model), None)
    kubectl = ["kubectl", *(["--kubeconfig", kubeconfig] if kubeconfig else [])]
    kubectl += ["--context", context] if context else []
    return StackOutputs(
        target=config.target,
        **topology.routing.public_urls,
        nim_internal_url=nim_url,
        judge_url=config.judge.url or nim_url,
        judge_model=config.judge.model or nim.model,
        base_model=nim.model,
        customization_config=tuned.templates[0].name if tuned else "",
        log_commands={key: [*kubectl, *log_arguments(entry)] for key, entry in entries.items()},
        cluster=ClusterOutputs(
            kubeconfig=kubeconfig,
            context=context,
            namespaces=topology.namespaces,
            adopted_namespaces=sorted(config.namespaces.adopt),
            existing_claims=[
                f"{addresses.namespace(one)}/{one.cache.existing_claim}"
                for one in config.nims
                if one.cache.existing_claim
            ],
            services={key: f"{entry.namespace}/{entry.service}:{entry.port}" for key, entry in entries.items()},
            prefixes={prefix: service.key for service in addresses.running for prefix in service.prefixes},
            secrets=expected_secrets(
                topology, credential_names(config.credentials, secrets), config.guardrails.nvidia_api_secret
            ),
            nims={name: address.namespace for name, address in addresses.nims.items()},
        ),
    )


def log_arguments(entry: Address) -> list[str]:
    """Return the arguments by which kubectl prints the latest logs of a service."""
    return ["logs", "-n", entry.namespace, f"service/{entry.service}", "--all-containers", f"--tail={LOG_LINES}"]


def list_entries(addresses: Addresses) -> dict[str, Address]:
    """Return the address of each service. `nim` is what nim_url leads to."""
    entries = {service.key: addresses.find(service) for service in addresses.running}
    entries["nim"] = addresses.nim_entry
    entries |= {f"nim-{name}": nim for name, nim in addresses.nims.items() if nim != addresses.first_nim}
    return entries | ({"mlflow": addresses.mlflow} if addresses.mlflow else {})


def expected_secrets(topology: Topology, found: CredentialNames, hosted: str | None) -> dict[str, list[str]]:
    """Namespace -> Secrets that must be there, whether we make them or the user did. `hosted`: that of Guardrails."""
    addresses, bucket = topology.addresses, topology.bucket
    secrets_of = {where: list(secret_names) for where, secret_names in required_secrets(addresses, found).items()}
    for database in topology.databases.values():
        for where in database.readers:
            secrets_of.setdefault(where, []).append(database.secret)
    if bucket and bucket.secret:
        for where in bucket.key_holders:
            secrets_of.setdefault(where, []).append(bucket.secret)
    if addresses.runs(names.NEMO_PLATFORM):
        secrets_of.setdefault(addresses.namespace(names.NEMO_PLATFORM), []).append(names.ENCRYPTION_SECRET)
    if hosted and addresses.runs(names.GUARDRAILS):
        secrets_of.setdefault(addresses.namespace(names.GUARDRAILS), []).append(hosted)
    return {where: sorted(set(secret_names)) for where, secret_names in secrets_of.items()}
