"""NIM operator, from the source of k8s-nim-operator v3.1.2: caches of model profiles, and services that serve them.

A cache takes every profile of the image that matches (`internal/nimparser/v1`: MatchProfiles), each as large as the
model, and fails where they do not fit the volume. What the operator's webhook refuses is refused by a
ValidatingAdmissionPolicy of the stand-in chart, which needs no webhook server.
"""

from decimal import Decimal

from simulator import quantities
from simulator.api import Object
from simulator.operators.rounds import CLAIMS, DEPLOYMENTS, JOBS, SERVICES, Round, claim, container, rolled_out

NIM_CACHES = "/apis/apps.nvidia.com/v1alpha1/nimcaches"
NIM_SERVICES = "/apis/apps.nvidia.com/v1alpha1/nimservices"

PROFILE_BYTES = Decimal(65 * 10**8)
"""Size of each simulated profile, that of a model with 3 billion parameters."""


def nim_cache(seen: Round, cache: Object) -> Object:
    """A volume, unless one is named, and a Job that would download; Ready when the Job is complete."""
    name, spec = cache["metadata"]["name"], cache["spec"]
    volume = spec.get("storage", {}).get("pvc", {})
    if volume.get("create"):
        body = claim(volume["size"], volume.get("volumeAccessMode", "ReadWriteOnce"), volume.get("storageClass"))
        seen.child(cache, CLAIMS, "PersistentVolumeClaim", volume.get("name") or f"{name}-pvc", {"spec": body})
    source: Object = next(iter(spec.get("source", {}).values()), {})
    pod = {
        "restartPolicy": "Never",
        "containers": [container(source.get("modelPuller", "none.invalid/puller"))],
        "tolerations": spec.get("tolerations", []),
        "nodeSelector": spec.get("nodeSelector", {}),
    }
    job = seen.child(cache, JOBS, "Job", f"{name}-job", {"spec": {"template": {"spec": pod}}})
    profiles = select_profiles(source.get("model") or {}, PROFILES)
    status: Object = {"profiles": [{"name": name, "config": PROFILES[name]} for name in profiles]}
    size = quantities.parse(volume.get("size", ""))
    if size is not None and size < len(profiles) * PROFILE_BYTES:
        return status | {"state": "Failed"}  # the puller has no space left on the device
    return status | {"state": "Ready" if job.get("status", {}).get("succeeded") else "InProgress"}


def make_profiles() -> dict[str, dict[str, str]]:
    """Return the profiles of the one simulated image, tags by name: as many as images of NVIDIA's catalog have."""
    engines = [("tensorrt_llm", gpu) for gpu in ("H100", "A100", "L40S", "A10G")] + [("vllm", "")]
    return {
        f"{engine}-{gpu or 'any'}-tp{tp}{'-lora' if lora else ''}".lower(): {
            "llm_engine": engine,
            "tp": str(tp),
            "feat_lora": str(lora).lower(),
            "precision": "bf16",
            **({"gpu": gpu} if gpu else {}),
        }
        for engine, gpu in engines
        for tp in (1, 2)
        for lora in (False, True)
    }


PROFILES = make_profiles()


def select_profiles(model: Object, profiles: dict[str, dict[str, str]]) -> list[str]:
    """Return the names of the profiles that a NIMCache with `model` downloads."""
    if named := model.get("profiles"):
        return sorted(profiles) if named == ["all"] else [name for name in named if name in profiles]
    engine, products = model.get("engine", ""), [gpu.get("product", "") for gpu in model.get("gpus", [])]
    lora = str(model["lora"]).lower() if "lora" in model else None

    def matches(tags: dict[str, str]) -> bool:
        if any(
            model.get(field) and tags.get(tag) != model[field]
            for field, tag in (("precision", "precision"), ("tensorParallelism", "tp"), ("qosProfile", "profile"))
        ):
            return False
        if (tags["feat_lora"] == "true") if lora is None else (tags["feat_lora"] != lora):
            return False
        if engine and engine.removesuffix("_llm") not in tags["llm_engine"]:
            return False
        if "tensorrt" in engine or products:
            if "tensorrt" not in tags["llm_engine"]:
                return False
            return not products or any(product.lower() in tags.get("gpu", "").lower() for product in products)
        return True

    return [name for name, tags in profiles.items() if matches(tags)]


def nim_service(seen: Round, service: Object) -> Object:
    """A Service, and when the cache is Ready a Deployment with the GPUs; Ready when all its replicas are."""
    name, spec = service["metadata"]["name"], service["spec"]
    cache = spec.get("storage", {}).get("nimCache", {}).get("name")
    there = seen.collection(NIM_CACHES).get((service["metadata"]["namespace"], cache))
    exposed = spec.get("expose", {}).get("service", {})
    labels = {"app": name}
    port = {"name": "api", "port": exposed.get("port", 8000)}
    seen.child(
        service, SERVICES, "Service", exposed.get("name") or name, {"spec": {"selector": labels, "ports": [port]}}
    )
    if cache and (there or {}).get("status", {}).get("state") != "Ready":
        return {"state": "Pending"}
    image = f"{spec['image']['repository']}:{spec['image']['tag']}"
    pod = {
        "containers": [container(image, spec.get("resources"), env=spec.get("env", []))],
        "tolerations": spec.get("tolerations", []),
        "nodeSelector": spec.get("nodeSelector", {}),
    }
    wanted = spec.get("replicas", spec.get("scale", {}).get("hpa", {}).get("minReplicas", 1))
    body = {
        "replicas": wanted,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    deployment = seen.child(service, DEPLOYMENTS, "Deployment", name, {"spec": body})
    return {"state": "Ready" if rolled_out(deployment, "updatedReplicas", wanted) else "NotReady"}
