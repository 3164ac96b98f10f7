"""Checks of containers that do not run: images, memory, crashes that their log explains, probes.

The patterns for logs are those of CUDA, PyTorch, the kernel and Hugging Face; what NIM and the Customizer themselves
write in these cases was not seen.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from infra.names import NGC_REGISTRY, NGC_USER, PULL_SECRET
from nemostack.kubectl.client import Object
from nemostack.withdrawn_images import withdrawn
from operations.cluster_snapshot import Snapshot, Tail, containers, ending
from operations.doctor.check import Check, Evidence, brief, ident, is_training

_PULLING = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_REFUSED = re.compile(r"\b40[13]\b|unauthorized|authorization failed|access denied|forbidden", re.IGNORECASE)
KILLED = 137


def unpulled(snapshot: Snapshot) -> Iterator[tuple[Object, str, str]]:
    """Pods whose image does not come: pod, image, what was said."""
    for pod in snapshot.ours("Pod"):
        for container in containers(pod):
            waiting = container.get("state", {}).get("waiting") or {}
            if waiting.get("reason") not in _PULLING:
                continue
            failed = [e["message"] for e in snapshot.events(pod) if e["reason"] == "Failed" and "pull" in e["message"]]
            messages = [*failed[-1:], waiting.get("message", "")] if failed else [waiting.get("message", "")]
            yield pod, container["image"], brief(" ".join(messages)) or waiting["reason"]


def _pull_secret(snapshot: Snapshot, pod: Object) -> str:
    """What is known of a pod's pull secrets."""
    namespace = pod["metadata"]["namespace"]
    names = [one["name"] for one in pod["spec"].get("imagePullSecrets") or []]
    if not names:
        return "the pod names no pull secret"
    known = {secret.name: secret for secret in snapshot.secrets if secret.namespace == namespace}
    for name in names:
        if name in known and known[name].logins.get(NGC_REGISTRY) == NGC_USER:
            return (
                f"pull secret {name} logs in as {NGC_USER}: its key is wrong or expired, or lacks the right or licence"
            )
        if name in known and NGC_REGISTRY in known[name].logins:
            return f"pull secret {name} logs in as {known[name].logins[NGC_REGISTRY]}, expected the literal {NGC_USER}"
        if name == PULL_SECRET and snapshot.secrets and name not in known:
            return f"pull secret {name} is not in namespace {namespace}"
    return f"pull secret {', '.join(names)}"


def _published(snapshot: Snapshot, *, refused: bool) -> Iterator[tuple[Object, str, str]]:
    """Of the pods whose image does not come those of images still published: `refused` to this login, or else."""
    for pod, image, message in unpulled(snapshot):
        if withdrawn(image) is None and bool(_REFUSED.search(message)) is refused:
            yield pod, image, message


def _refused(snapshot: Snapshot) -> Iterator[Evidence]:
    for pod, image, message in _published(snapshot, refused=True):
        yield Evidence(ident(pod), f"{image}: {_pull_secret(snapshot, pod)}. {message}")


def _withdrawn(snapshot: Snapshot) -> Iterator[Evidence]:
    for pod, image, message in unpulled(snapshot):
        if gone := withdrawn(image):
            yield Evidence(
                ident(pod), f"{image}: {message}; gone since {gone.since} ({gone.source})", fix=gone.successor
            )


def _no_image(snapshot: Snapshot) -> Iterator[Evidence]:
    for pod, image, message in _published(snapshot, refused=False):
        yield Evidence(ident(pod), f"{image}: {message}")


def killed_for_memory(pod: Object, ended: Object) -> bool:
    """137 alone may be a probe's work; a training job has none."""
    return ended.get("reason") == "OOMKilled" or (is_training(pod) and ended["exitCode"] == KILLED)


def _out_of_memory(snapshot: Snapshot) -> Iterator[Evidence]:
    for pod in snapshot.ours("Pod"):
        for container in containers(pod):
            ended = ending(container)
            if not ended or not killed_for_memory(pod, ended):
                continue
            if is_training(pod):
                fix = "micro_batch_size 1, a smaller batch or max_seq_length; more memory for job pods"
                yield Evidence(
                    ident(pod), f"training container {container['name']} was killed (exit {KILLED})", fix=fix
                )
            else:
                yield Evidence(ident(pod), f"container {container['name']} went over its memory limit and was killed")


def _probe(snapshot: Snapshot) -> Iterator[Evidence]:
    for pod in snapshot.ours("Pod"):
        killed = [e for e in snapshot.events(pod) if "failed startup probe" in e.get("message", "")]
        if killed:
            times = sum(e.get("count") or 1 for e in killed)
            yield Evidence(ident(pod), f"killed {times} times before it was ready: {brief(killed[-1]['message'])}")


def _tails_of_failed(snapshot: Snapshot) -> Iterator[tuple[Object, Tail]]:
    for tail in snapshot.tails:
        pod = snapshot.find("Pod", tail.namespace, tail.pod)
        if pod and any(c["name"] == tail.container and ending(c) for c in containers(pod)):
            yield pod, tail


def in_log(pattern: str, *, training: bool = False) -> Callable[[Snapshot], Iterable[Evidence]]:
    """Look for a line in the logs of containers that failed; with `training` only in those of training jobs."""
    expression = re.compile(pattern, re.IGNORECASE)

    def look(snapshot: Snapshot) -> Iterator[Evidence]:
        for pod, tail in _tails_of_failed(snapshot):
            line = next((line for line in reversed(tail.text.splitlines()) if expression.search(line)), None)
            if line is not None and (is_training(pod) or not training):
                yield Evidence(f"{ident(pod)} {tail.container}", brief(line))

    return look


GPU_MEMORY = r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory|No available memory for the cache blocks"
DRIVER = r"unsupported display driver|driver version is insufficient|forward compatibility was attempted"
DISK = r"No space left on device|disk quota exceeded|\bENOSPC\b"
GATED = r"GatedRepoError|gated repo|40[13] Client Error.*huggingface"
POD_GROUP = r"no matches for kind .?PodGroup"
ROWS = r"JSONDecodeError|KeyError: .(prompt|completion|messages)\b"
_EXPLAINED = re.compile(f"{GPU_MEMORY}|{DRIVER}|{DISK}|{GATED}|{POD_GROUP}|{ROWS}", re.IGNORECASE)


def _crash(snapshot: Snapshot) -> Iterator[Evidence]:
    """Crashes that no other check explains."""
    logs = {(tail.namespace, tail.pod, tail.container): tail.text for tail in snapshot.tails}
    for pod in snapshot.ours("Pod"):
        for container in containers(pod):
            ended, state = ending(container), container.get("state", {})
            looping = (state.get("waiting") or {}).get("reason") == "CrashLoopBackOff" or "terminated" in state
            if not ended or not looping or killed_for_memory(pod, ended):
                continue
            text = logs.get((pod["metadata"]["namespace"], pod["metadata"]["name"], container["name"]), "")
            if _EXPLAINED.search(text):
                continue
            last = next((line for line in reversed(text.splitlines()) if line.strip()), "") or ended.get("message", "")
            times = f", {container.get('restartCount', 0)} restarts" if container.get("restartCount") else ""
            what = f"{container['name']} ended with {ended['exitCode']}{times}: {brief(last) or 'no log'}"
            yield Evidence(ident(pod), what)


def _evicted(snapshot: Snapshot) -> Iterator[Evidence]:
    yield from in_log(DISK)(snapshot)
    for pod in snapshot.ours("Pod"):
        if pod.get("status", {}).get("reason") == "Evicted":
            yield Evidence(ident(pod), f"evicted: {brief(pod['status'].get('message', ''))}")


def _mounts(snapshot: Snapshot) -> Iterator[Evidence]:
    for pod in snapshot.ours("Pod"):
        if pod.get("status", {}).get("phase") == "Pending":
            failed = [e for e in snapshot.events(pod) if e["reason"] in {"FailedMount", "FailedAttachVolume"}]
            if failed:
                yield Evidence(ident(pod), brief(failed[-1]["message"]))
            for container in containers(pod):
                waiting = container.get("state", {}).get("waiting") or {}
                if waiting.get("reason") == "CreateContainerConfigError":
                    yield Evidence(ident(pod), brief(waiting.get("message", "")))


CHECKS = (
    Check(
        name="image refused",
        symptom="ImagePullBackOff, 401 or 403 from nvcr.io",
        look=_refused,
        looks_at="the error of the pull; the pod's pull secret: existence, registry nvcr.io, user $oauthtoken",
        fix="set a valid NGC key with access to this image and run `pulumi up`; accept the model's licence on NGC",
    ),
    Check(
        name="withdrawn image",
        symptom="image bitnami/..., gcr.io/kubebuilder/... or k8s.gcr.io/... not found",
        look=_withdrawn,
        looks_at="image references of pods that cannot pull, and the registries known to be closed",
        fix="take the image from its new registry",
    ),
    Check(
        name="image missing",
        symptom="ImagePullBackOff for another reason",
        look=_no_image,
        looks_at="the error of the pull",
        fix="check repository and tag, and that the nodes can reach the registry",
    ),
    Check(
        name="killed for memory",
        symptom="customization job failed, exit 137; OOMKilled",
        look=_out_of_memory,
        looks_at="last terminated state of the containers",
        fix="raise the memory limit of this container",
    ),
    Check(
        name="startup probe",
        symptom="a NIM is killed before it is ready",
        look=_probe,
        looks_at="events `failed startup probe`",
        fix="raise startup_minutes of the NIM; a cache volume keeps the download across restarts",
    ),
    Check(
        name="GPU memory",
        symptom="CrashLoop, CUDA out of memory",
        look=in_log(GPU_MEMORY),
        looks_at="log of the failed container",
        fix="a GPU with more memory, an fp8 profile, a shorter model length, or relax_memory; jobs: micro_batch_size 1",
    ),
    Check(
        name="GPU driver",
        symptom="CrashLoop, driver and CUDA do not match",
        look=in_log(DRIVER),
        looks_at="log of the failed container",
        fix="use nodes with a newer driver (AMI, GPU operator), or an older NIM",
    ),
    Check(
        name="disk full",
        symptom="no space left; pod evicted",
        look=_evicted,
        looks_at="log of the failed container, reason Evicted",
        fix="raise job_size of the Customizer or the size of the NIM's cache, delete finished jobs, enlarge node disks",
    ),
    Check(
        name="gated model",
        symptom="403 from Hugging Face",
        look=in_log(GATED),
        looks_at="log of the failed container",
        fix="set hf_token in the stack's settings, and accept the model's licence with that account",
    ),
    Check(
        name="training rows",
        symptom="a job fails on its data",
        look=in_log(ROWS, training=True),
        looks_at="log of the failed training container",
        fix="write one JSON object per line, with prompt and completion (or messages), as the prompt_template requires",
    ),
    Check(
        name="cannot be mounted",
        symptom="pods stay in ContainerCreating",
        look=_mounts,
        looks_at="events FailedMount and FailedAttachVolume, reason CreateContainerConfigError",
        fix="the Secret, ConfigMap or volume that it names must exist in this namespace; cert-manager creates "
        "certificates of webhooks",
    ),
    Check(
        name="crash",
        symptom="CrashLoop for another reason",
        look=_crash,
        looks_at="exit code, restarts, last line of the log",
        fix="read `kubectl logs --previous` of this pod; check its Secrets and the services that it needs",
    ),
)
