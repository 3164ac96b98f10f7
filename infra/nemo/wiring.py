"""The wiring of the services: the values of the umbrella chart that hold addresses, as one table. Pure.

The chart's own defaults are short names, which work in one namespace only; here every address is complete, so that
both layouts are wired the same way. docs/kubernetes/nemo.md shows this table, which a test compares.
"""

from urllib.parse import urlsplit

from infra import names
from infra.topology import Topology

Wiring = dict[str, str]
"""Path in the values of the chart, beginning with the service's alias -> URL."""

HF_API = "/v1/hf"  # of the Data Store, which speaks Hugging Face's API there


def data_store_root(topology: Topology) -> str:
    """Public URL of the Data Store, from which it builds links to large files; without routes the one in the cluster.

    Pods follow these links as well, so they must be able to resolve and reach the public host.
    """
    if topology.routing.routes:
        return topology.routing.public_urls["data_store_url"]
    return topology.addresses.url(names.DATA_STORE)


def wiring(topology: Topology) -> Wiring:
    """Return the addresses that the services which run are given."""
    addresses, root = topology.addresses, data_store_root(topology)
    data_store, entity_store = addresses.url(names.DATA_STORE), addresses.url(names.ENTITY_STORE)
    core, entry = addresses.url(names.CORE), addresses.nim_entry.url
    table = {
        "data-store.external.rootUrl": root,
        "data-store.external.domain": str(urlsplit(root).hostname),
        "entity-store.appConfig.BASE_URL_DATASTORE": data_store + HF_API,
        "entity-store.appConfig.BASE_URL_NIM": entry,
        "customizer.customizerConfig.nemoDataStoreURL": data_store,
        "customizer.customizerConfig.entityStoreURL": entity_store,
        "customizer.customizerConfig.mlflowURL": addresses.mlflow_url or "",
        "evaluator.external.dataStore.endpoint": data_store + HF_API,
        "evaluator.external.entityStore.endpoint": entity_store,
        "evaluator.external.jobs.endpoint": core,
        "evaluator.external.nimProxy.endpoint": entry,
        "core.config.models.controller.backends.k8s-nim-operator.config.peft_source": entity_store,
        "guardrails.env.NIM_ENDPOINT_URL": entry + "/v1",
        "guardrails.external.entityStore.endpoint": entity_store,
        "deployment-management.dataStore.url": data_store,
        "deployment-management.deployments.entityStoreUrl": entity_store,
        "deployment-management.deployments.nimPeftSource": entity_store,
    }
    running = {service.alias for service in addresses.running}
    return {path: url for path, url in table.items() if path.split(".")[0] in running}
