"""The wiring of the services: the values of the umbrella chart that hold addresses, as one table. Pure.

The chart's own defaults are short names, which work in one namespace only; here every address is complete, so that
both layouts are wired the same way. docs/kubernetes/nemo.md shows this table, which a test compares.
"""

from urllib.parse import urlsplit

from infra import names
from infra.config import addresses
from infra.config.stack import ClusterStackConfig
from infra.platform.routing.route_table import public_urls

Wiring = dict[str, str]
"""Path in the values of the chart, beginning with the service's alias -> URL."""

HF_API = "/v1/hf"  # of the Data Store, which speaks Hugging Face's API there


def nim_entry(config: ClusterStackConfig) -> str:
    """URL under which the services reach models: the NIM proxy where it runs, else the first NIM."""
    return (
        addresses.url(config, names.NIM_PROXY)
        if config.services.nim_proxy
        else addresses.nim_url(config, config.nims[0])
    )


def data_store_root(config: ClusterStackConfig) -> str:
    """Public URL of the Data Store, from which it builds links to large files; without routes the one in the cluster.

    Pods follow these links as well, so they must be able to resolve and reach the public host.
    """
    if config.routes.kind == "none":
        return addresses.url(config, names.DATA_STORE)
    return public_urls(config)["data_store_url"]


def wiring(config: ClusterStackConfig) -> Wiring:
    """Return the addresses that the services which run are given."""
    data_store, entity_store = addresses.url(config, names.DATA_STORE), addresses.url(config, names.ENTITY_STORE)
    core, entry, root = addresses.url(config, names.CORE), nim_entry(config), data_store_root(config)
    table = {
        "data-store.external.rootUrl": root,
        "data-store.external.domain": str(urlsplit(root).hostname),
        "entity-store.appConfig.BASE_URL_DATASTORE": data_store + HF_API,
        "entity-store.appConfig.BASE_URL_NIM": entry,
        "customizer.customizerConfig.nemoDataStoreURL": data_store,
        "customizer.customizerConfig.entityStoreURL": entity_store,
        "customizer.customizerConfig.mlflowURL": addresses.mlflow_url(config) or "",
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
    running = {service.alias for service in addresses.services(config)}
    return {path: url for path, url in table.items() if path.split(".")[0] in running}
