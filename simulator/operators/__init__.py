"""Operators that the stand-in charts do not bring: they answer a custom resource as the real operator would.

Simulated, so that what waits for an operator's verdict can be tested: NIM operator, CloudNativePG, cert-manager,
Gateway API, Envoy AI Gateway, Volcano, and the load balancers of a cloud. Each acts on its kinds as soon as they exist.
What a resource leads to is made as real objects, owned by it (a NIMService's Deployment needs its GPUs, a Cluster's
servers their volumes), and the verdict follows those: a NIM without a free GPU is not Ready. No data and no certificate
is real.
"""

from collections.abc import Iterator

from simulator.api import Api, ApiError, Object
from simulator.operators import ai_gateway, certificates, gateways, load_balancers, nim, postgres, volcano
from simulator.operators.rounds import SERVICES, Round

KINDS = {
    nim.NIM_CACHES: nim.nim_cache,
    nim.NIM_SERVICES: nim.nim_service,
    postgres.POSTGRES: postgres.postgres,
    postgres.DATABASES: postgres.database,
    certificates.ISSUERS: certificates.issuer,
    certificates.CLUSTER_ISSUERS: certificates.issuer,
    certificates.CERTIFICATES: certificates.certificate,
    gateways.CLASSES: gateways.gateway_class,
    gateways.GATEWAYS: gateways.gateway,
    gateways.ROUTES: gateways.http_route,
    gateways.POLICIES: gateways.traffic_policy,
    ai_gateway.AI_BACKENDS: ai_gateway.ai_service_backend,
    ai_gateway.AI_ROUTES: ai_gateway.ai_gateway_route,
    SERVICES: load_balancers.load_balanced,
    "/apis/networking.k8s.io/v1/ingresses": load_balancers.load_balanced,
    volcano.JOBS: volcano.volcano_job,
    volcano.POD_GROUPS: volcano.pod_group,
}


class Operators:
    """All of them, one look after the other."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def once(self) -> bool:
        """Bring every resource one step further; whether there was any to take."""
        groups = {group["name"] for group in self._api.get("/apis")["groups"]}
        seen = Round(self._api, groups)
        failed = None
        for path, thing in self._things(seen):
            try:
                if "deletionTimestamp" in thing["metadata"]:
                    ai_gateway.release(seen, path, thing)
                elif status := KINDS[path](seen, thing):
                    seen.status(path, thing, status)
            except ApiError as error:  # one that is being deleted must not hold up the others
                failed = error
        if failed:
            raise failed
        return seen.changed

    def _things(self, seen: Round) -> Iterator[tuple[str, Object]]:
        for path in KINDS:
            for thing in list(seen.collection(path).values()):
                if "deletionTimestamp" not in thing["metadata"] or path in ai_gateway.HELD:
                    yield path, thing
