"""Rules about the NeMo Platform: what its deployments cannot do, and settings that are of the other product.

Rules as in __init__.py: each yields problems, `path: what is wrong: what to do`.
"""

from collections.abc import Iterator

from infra.config.fit import nim_pool
from infra.config.nemo import Nim, NimLora
from infra.config.nemo_platform import NemoPlatform
from infra.config.section import repeated
from infra.config.stack import ClusterStackConfig
from infra.names import GPU_RESOURCE
from nemostack.entity_names import entity_name


def platform(config: ClusterStackConfig) -> Iterator[str]:
    """All rules about the platform."""
    if config.product == "platform":
        yield from of_platform(config)
        return
    if config.platform != NemoPlatform():
        yield "platform: is of product: platform: set that, or leave this section out"
    for index, nim in enumerate(config.nims):
        if nim.deploy == "platform":
            yield f"nims.{index}.deploy: platform needs product: platform: chart or operator"


def of_platform(config: ClusterStackConfig) -> Iterator[str]:
    """Rules for a stack with the platform."""
    keeps, deployed = config.platform.keep_microservices, [nim for nim in config.nims if nim.deploy == "platform"]
    if config.services.running and not keeps:
        yield (
            "services: are the microservices, and this stack runs the platform: leave the section out, or "
            "platform.keep_microservices: true during a migration"
        )
    if keeps and len(deployed) == len(config.nims):
        yield "nims: the platform deploys all of them, and the microservices need one: deploy: chart or operator for it"
    if config.platform.jobs.backend == "volcano" and config.prerequisites.volcano == "skip":
        yield "prerequisites.volcano: platform.jobs.backend: volcano needs it: install or adopt"
    yield from entities(config.nims)
    for index, nim in enumerate(config.nims):
        if nim.deploy == "platform":
            yield from deployment(config, f"nims.{index}", nim)


def entities(nims: tuple[Nim, ...]) -> Iterator[str]:
    """Each base model is an entity of the platform, whose name follows from the model's."""
    known = []
    for index, nim in enumerate(nims):
        try:
            known.append(entity_name(nim.model))
        except ValueError as error:
            yield f"nims.{index}.model: {error}"
    for name in repeated(known):
        yield f"nims: two models make the same entity {name!r} of the platform: each model once"


def deployment(config: ClusterStackConfig, path: str, nim: Nim) -> Iterator[str]:
    """Settings that the platform's API has no word for, so that they would silently do nothing."""
    lora = nim.lora or NimLora()
    cache = nim.cache
    unknown = {
        "replicas": nim.replicas != 1,
        "autoscaling": nim.autoscaling is not None,
        "disruption_budget": nim.disruption_budget is not None,
        "topology_spread": nim.topology_spread is not None,
        "cache.existing_claim": cache.existing_claim is not None,
        "cache.engine": cache.engine is not None,
        "cache.profiles": bool(cache.profiles),
        "lora.existing_claim": lora.existing_claim is not None,
        "lora.peft_source": lora.peft_source != "entity-store",
    }
    for key, is_set in unknown.items():
        if is_set:
            yield f"{path}.{key}: the platform's deployments do not have it: leave it out, or deploy: chart"
    pool = nim_pool(config, nim)
    if pool is not None and pool.resource != GPU_RESOURCE:
        yield (
            f"{path}.pool: the platform's deployments ask for {GPU_RESOURCE}, and {pool.name} offers {pool.resource}: "
            "mig.strategy: single, another pool, or deploy: chart"
        )
