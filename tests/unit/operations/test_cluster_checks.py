"""A cluster that is well has no findings; break one thing, and the doctor names that thing and nothing else wrong."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nemostack.outputs import ClusterOutputs
from nemostack.service_checks import Finding
from operations.cluster_snapshot import Snapshot, Tail, secret_facts
from operations.doctor.cluster import FAILURES, MAX_SHOWN, STATE, diagnose
from operations.helm_releases import Release
from tests.unit.operations import healthy_cluster as h

Object = dict[str, Any]


class Broken:
    """The healthy cluster, to be changed in place."""

    def __init__(self) -> None:
        self.objects = h.objects()
        self.more: dict[str, Any] = {}

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object:
        return next(
            o
            for o in self.objects
            if o["kind"] == kind
            and o["metadata"]["name"] == name
            and (namespace is None or o["metadata"].get("namespace") == namespace)
        )

    def pod(self, key: str) -> Object:
        return self.get("Pod", f"{h.SERVICES[key][1]}-0")

    def status(self, key: str) -> Object:
        found: Object = self.pod(key)["status"]["containerStatuses"][0]
        return found

    def drop(self, kind: str, name: str) -> None:
        self.objects.remove(self.get(kind, name))

    def unready(self, key: str) -> None:
        """What follows when the one pod of a service is not ready."""
        namespace, service, _port, _target = h.SERVICES[key]
        self.get("EndpointSlice", f"{service}-x", namespace)["endpoints"][0]["conditions"]["ready"] = False
        self.get("Deployment", service)["status"]["readyReplicas"] = 0

    def unscheduled(self, key: str, message: str, gpus: int | None = None) -> Object:
        pod = self.pod(key)
        del pod["spec"]["nodeName"]
        pod["status"] = {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}],
        }
        if gpus is not None:
            pod["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": str(gpus)}}
        return pod

    def crashed(self, key: str, code: int, log: str, reason: str = "Error") -> None:
        self.status(key).update(
            state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}},
            lastState={"terminated": {"exitCode": code, "reason": reason}},
            restartCount=7,
        )
        pod = self.pod(key)["metadata"]
        self.more["tails"] = (Tail(pod["namespace"], pod["name"], "main", log),)

    def train(self, key: str = "customizer") -> None:
        self.pod(key)["metadata"]["annotations"] = {"scheduling.k8s.io/group-name": "job-1"}

    def event(self, about: Object, reason: str, message: str) -> None:
        self.objects.append(h.event(about, reason, message))

    def snapshot(self) -> Snapshot:
        return h.snapshot(self.objects, **self.more)


def wrong(snapshot: Snapshot) -> list[Finding]:
    return [finding for finding in diagnose(snapshot) if finding.level != "ok"]


def test_healthy_cluster_has_no_findings() -> None:
    found = list(diagnose(h.snapshot()))
    assert [f.line for f in found if f.level != "ok"] == []
    assert {f.check: f.evidence for f in found} == {
        "cluster": "Kubernetes v1.33.4",
        "nodes": "3 of 3 nodes ready",
        "GPUs": "4 allocatable on 2 nodes, 1 taken",
        "Secrets": "4 Secrets present, of the right type and with their key",
        "volumes": "1 of 1 claims bound",
        "services": "6 of 6 Services have ready pods",
        "routes": "2 routes accepted and addressed",
        "releases": "1 Helm releases deployed",
        "workloads": "6 of 6 workloads ready",
        "NIMs": "2 NIM objects ready",
        "known failures": f"{len(FAILURES)} of {len(FAILURES)} looked for, not seen",
    }


def test_a_platform_that_does_not_serve_its_nims_is_found() -> None:
    """The Job of ours has given up; other Jobs are not looked at."""
    b = Broken()
    failed = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
    b.objects += [h.thing("Job", name, "llama", status=failed) for name in ("nemo-platform-models", "another")]
    (finding,) = wrong(b.snapshot())
    assert finding.check == "NIMs"
    assert "the NeMo Platform does not serve the NIMs: BackoffLimitExceeded" in finding.evidence
    assert "job/nemo-platform-models" in finding.fix


def no_gpu_left(b: Broken) -> None:
    b.unscheduled("nim", "0/3 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: not helpful.")


def no_node_large_enough(b: Broken) -> None:
    b.unscheduled("nim", "0/3 nodes are available: 2 Insufficient nvidia.com/gpu.", gpus=4)


def device_plugin_missing(b: Broken) -> None:
    del b.get("Node", "g1")["status"]["allocatable"]["nvidia.com/gpu"]
    b.get("DaemonSet", "nvidia-device-plugin-daemonset")["status"]["numberReady"] = 1


def no_toleration(b: Broken) -> None:
    pod = b.unscheduled("nim", "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s).")
    pod["spec"]["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Equal", "value": "yes"}]


def no_label(b: Broken) -> None:
    pod = b.unscheduled("nim", "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.")
    pod["spec"]["nodeSelector"] = {"feature.node.kubernetes.io/pci-10de.present": "true"}
    for name in ("g0", "g1"):
        del b.get("Node", name)["metadata"]["labels"]["feature.node.kubernetes.io/pci-10de.present"]


def no_memory_left(b: Broken) -> None:
    b.unscheduled("evaluator", "0/3 nodes are available: 3 Insufficient memory.")


def job_waits(b: Broken) -> None:
    group = h.thing(
        "PodGroup",
        "job-2",
        "nemo-customizer",
        spec={"minMember": 1},
        status={
            "phase": "Inqueue",
            "conditions": [{"type": "Unschedulable", "status": "True", "message": "1/1 tasks in gang unschedulable"}],
        },
    )
    group["metadata"]["creationTimestamp"] = h.stamp(40)
    b.objects.append(group)
    container = b.get("Deployment", "nemo-customizer")["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "MAX_PENDING_JOB_MINUTES", "value": "60"}]


def unbound(b: Broken, message: str = "", **spec: Any) -> Object:
    claim = h.claim("models", "nemo-customizer", **spec)
    claim["status"]["phase"] = "Pending"
    b.objects.append(claim)
    if message:
        b.event(claim, "ProvisioningFailed", message)
    return claim


def no_default_class(b: Broken) -> None:
    b.get("StorageClass", "standard")["metadata"]["annotations"].clear()
    unbound(b, storageClassName=None)


def no_such_class(b: Broken) -> None:
    unbound(b, storageClassName="gp3")


def shared_on_a_disk(b: Broken) -> None:
    unbound(b, accessModes=["ReadWriteMany"])


def shared_on_a_node(b: Broken) -> None:
    b.get("StorageClass", "standard")["provisioner"] = "rancher.io/local-path"  # as K3s has it
    unbound(b, accessModes=["ReadWriteMany"])


def quota_of_disks(b: Broken) -> None:
    unbound(b, "googleapi: Error 403: Quota 'SSD_TOTAL_GB' exceeded")


def unpulled(b: Broken, image: str, message: str) -> None:
    b.status("nim").update(
        image=image, state={"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling"}}
    )
    b.event(b.pod("nim"), "Failed", f'Failed to pull image "{image}": {message}')


def key_is_wrong(b: Broken) -> None:
    unpulled(b, h.NIM_IMAGE, "failed to authorize: failed to fetch oauth token: 401 Unauthorized")


def pull_user_eaten_by_shell(b: Broken) -> None:
    b.more["secrets"] = tuple(
        secret_facts(
            h.pull_secret("llama", user="")
            if one["metadata"]["namespace"] == "llama" and one["metadata"]["name"] == "nvcrimagepullsecret"
            else one
        )
        for one in h.secrets()
    )


def kubebuilder(b: Broken) -> None:
    unpulled(b, "gcr.io/kubebuilder/kube-rbac-proxy:v0.15.0", "manifest unknown: not found")


def bitnami(b: Broken) -> None:
    unpulled(b, "docker.io/bitnami/postgresql:16.1.0", "manifest unknown: not found")


def no_such_tag(b: Broken) -> None:
    unpulled(b, h.NIM_IMAGE, "rpc error: code = NotFound desc = not found")


def training_killed(b: Broken) -> None:
    b.train()
    b.crashed("customizer", 137, "Epoch 0: 10%", reason="Error")


def over_its_limit(b: Broken) -> None:
    b.crashed("evaluator", 137, "", reason="OOMKilled")


def killed_while_loading(b: Broken) -> None:
    b.event(b.pod("nim"), "Killing", "Container main failed startup probe, will be restarted")


def gpu_too_small(b: Broken) -> None:
    b.crashed("nim", 1, "loading\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\nexit")


def old_driver(b: Broken) -> None:
    b.crashed("nim", 1, "Error 803: system has unsupported display driver / cuda driver combination")


def disk_full(b: Broken) -> None:
    b.crashed("customizer", 1, "OSError: [Errno 28] No space left on device")


def gated(b: Broken) -> None:
    b.crashed("customizer", 1, "huggingface_hub.errors.GatedRepoError: 403 Client Error.")


def bad_rows(b: Broken) -> None:
    b.train()
    b.crashed("customizer", 1, "KeyError: 'completion'")


def secret_not_there(b: Broken) -> None:
    b.pod("mlflow")["status"]["phase"] = "Pending"
    b.event(b.pod("mlflow"), "FailedMount", 'MountVolume.SetUp failed: secret "webhook-server-cert" not found')


def crash(b: Broken) -> None:
    b.crashed("evaluator", 3, "starting\nValueError: DATABASE_URL is not set\n")


def no_pod_groups(b: Broken) -> None:
    b.more["served"] = h.snapshot().served - {"podgroups.scheduling.volcano.sh"}


def webhook_x509(b: Broken) -> None:
    job = h.thing("Job", "job-3", "nemo-customizer", spec={}, status={})
    b.objects.append(job)
    b.event(
        job,
        "FailedCreate",
        'Error creating: Internal error: failed calling webhook "mutatepod.volcano.sh": '
        "tls: failed to verify certificate: x509: certificate signed by unknown authority",
    )


def webhook_without_service(b: Broken) -> None:
    b.drop("Service", "volcano-admission")


def webhook_without_certificate(b: Broken) -> None:
    hook = b.get("MutatingWebhookConfiguration", "admission.volcano.sh")["webhooks"][0]
    del hook["clientConfig"]["caBundle"]


def pod_security(b: Broken) -> None:
    about = b.get("Deployment", "nemo-evaluator")
    b.event(about, "FailedCreate", 'pods "x" is forbidden: violates PodSecurity "baseline:latest": hostPath volumes')


def delete_hangs(b: Broken) -> None:
    meta = b.get("NIMCache", "llama")["metadata"]
    meta |= {"deletionTimestamp": h.stamp(20), "finalizers": ["finalizer.nimcache.apps.nvidia.com"]}


def namespace_hangs(b: Broken) -> None:
    space = b.get("Namespace", "nemo-evaluator")
    space["metadata"]["deletionTimestamp"] = h.stamp(30)
    said = "Some content in the namespace has finalizers remaining: x in 1 resource instances"
    space["status"]["conditions"] = [{"type": "NamespaceFinalizersRemaining", "status": "True", "message": said}]


def no_dns(b: Broken) -> None:
    b.get("NetworkPolicy", "allow", "nemo-evaluator")["spec"]["egress"][0]["ports"] = [{"port": 53, "protocol": "TCP"}]


def no_way_to_mlflow(b: Broken) -> None:
    del b.get("NetworkPolicy", "allow", "nemo-customizer")["spec"]["egress"][1]


def mlflow_lets_nobody_in(b: Broken) -> None:
    rule = b.get("NetworkPolicy", "allow", "mlflow")["spec"]["ingress"][0]["from"][0]["namespaceSelector"]
    rule["matchExpressions"][0]["values"] = ["nemo-customizer", "mlflow"]


def mlflow_hosts(b: Broken) -> None:
    b.pod("mlflow")["spec"]["containers"][0]["env"][0]["value"] = "mlflow.example.com,localhost:*"


def mlflow_says_so(b: Broken) -> None:
    line = "WARNING: Invalid Host header - possible DNS rebinding attack detected"
    b.more["tails"] = (Tail("mlflow", "mlflow-tracking-0", "main", f"started\n{line}\n"),)


def nim_2(b: Broken) -> None:
    b.pod("nim")["spec"]["containers"][0]["image"] = "nvcr.io/nim/meta/llama-3.2-3b-instruct:2.0.1"


def adapters_from_nowhere(b: Broken) -> None:
    b.pod("nim")["spec"]["containers"][0]["env"][0]["value"] = "http://entity-store.nemo.svc.cluster.local:8000"


def small_uploads(b: Broken) -> None:
    path = {"path": "/", "backend": {"service": {"name": "nemo-data-store", "port": {"number": 3000}}}}
    b.objects.append(
        h.thing(
            "Ingress",
            "data-store",
            "nemo-datastore",
            spec={"ingressClassName": "nginx", "rules": [{"http": {"paths": [path]}}]},
            status={"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}},
        )
    )


def dns_in_the_namespace_only(b: Broken) -> None:
    b.get("NetworkPolicy", "allow", "nemo-evaluator")["spec"]["egress"][0] = {"to": [{"podSelector": {}}]}


def alias_leads_nowhere(b: Broken) -> None:
    said = [{"type": "NotAccepted", "status": "True", "message": "AIServiceBackend gone.llama not found"}]
    b.objects.append(h.thing("AIGatewayRoute", "nemostack-prod", "llama", status={"conditions": said}))


def alias_that_nobody_saw(b: Broken) -> None:
    b.objects.append(h.thing("AIGatewayRoute", "nemostack-prod", "llama"))


def short_streams(b: Broken) -> None:
    del b.get("HTTPRoute", "nemo")["spec"]["rules"][0]["timeouts"]


def node_lost(b: Broken) -> None:
    state = b.get("Node", "g1")["status"]["conditions"][0]
    state |= {"status": "Unknown", "message": "Kubelet stopped posting node status."}


def secret_in_another_namespace(b: Broken) -> None:
    b.more["secrets"] = h.snapshot().secrets[:3]


def wrong_kind_of_secret(b: Broken) -> None:
    facts = [replace(one, kind="Opaque") if one.name == "nvcrimagepullsecret" else one for one in h.snapshot().secrets]
    b.more["secrets"] = tuple(facts)


def wrong_key(b: Broken) -> None:
    facts = [replace(s, keys=frozenset({"NGC_KEY"})) if s.name == "ngc-api" else s for s in h.snapshot().secrets]
    b.more["secrets"] = tuple(facts)


def volume_lost(b: Broken) -> None:
    b.get("PersistentVolumeClaim", "datastore-shared-storage")["status"]["phase"] = "Lost"


def no_pod_behind(b: Broken) -> None:
    b.get("EndpointSlice", "nemo-data-store-x")["endpoints"] = []


def wrong_port(b: Broken) -> None:
    b.get("Service", "nemo-data-store")["spec"]["ports"][0]["port"] = 8000


def no_address(b: Broken) -> None:
    del b.get("Gateway", "nemo")["status"]["addresses"]


def route_refused(b: Broken) -> None:
    b.objects[b.objects.index(b.get("HTTPRoute", "nemo"))] = h.route(accepted="False")


def no_certificate(b: Broken) -> None:
    said = {
        "status": "False",
        "reason": "InvalidCertificateRef",
        "message": "Secret routes/nemo-routes does not exist.",
    }
    listener = {
        "name": "https",
        "conditions": [{"type": "Accepted", "status": "True"}, {"type": "ResolvedRefs", **said}],
    }
    b.get("Gateway", "nemo")["status"]["listeners"] = [listener]


def half_installed(b: Broken) -> None:
    b.more["releases"] = (Release(namespace="nemo-customizer", name="nemo", status="pending-install", revision=1),)


def half_upgraded(b: Broken) -> None:
    release = Release(namespace="nemo-customizer", name="nemo", status="pending-upgrade", revision=4, deployed=3)
    b.more["releases"] = (release,)


def object_deleted(b: Broken) -> None:
    held = {("Deployment", "nemo-datastore", "nemo-gone"), ("ConfigMap", "nemo-datastore", "of-no-interest")}
    b.more["held"] = {("nemo-datastore", "nemo"): frozenset(held)}


def pods_missing(b: Broken) -> None:
    b.get("Deployment", "nemo-evaluator")["spec"]["replicas"] = 3


def cache_loading(b: Broken) -> None:
    b.get("NIMCache", "llama")["status"] = {"state": "InProgress"}


def nim_of_another_cluster(b: Broken) -> None:
    b.more["outputs"] = h.outputs(nim_internal_url="http://nim.elsewhere.svc.cluster.local:8000")


# break one thing -> the check that says so, a piece of its evidence, a piece of what to do
CASES: list[tuple[Callable[[Broken], None], str, str, str]] = [
    (node_lost, "nodes", "not Ready: Kubelet stopped posting", "kubectl describe node"),
    (secret_in_another_namespace, "Secrets", "no such Secret in this namespace", "pulumi up"),
    (wrong_kind_of_secret, "Secrets", "is of type Opaque, expected kubernetes.io/dockerconfigjson", ""),
    (wrong_key, "Secrets", "has keys NGC_KEY, expected NGC_API_KEY", ""),
    (pull_user_eaten_by_shell, "Secrets", "logs in to nvcr.io as nobody, expected the literal $oauthtoken", "quote"),
    (volume_lost, "volumes", "lost its volume pv-datastore-shared-storage", "backup"),
    (no_pod_behind, "services", "no ready pod behind the Service (data_store)", ""),
    (wrong_port, "services", "has no port 3000", ""),
    (no_address, "routes", "has no address yet", ""),
    (
        no_certificate,
        "routes",
        "listener https: InvalidCertificateRef: Secret routes/nemo-routes does not exist.",
        "kubectl describe certificate",
    ),
    (route_refused, "routes", "NotAllowedByListeners: no listener", ""),
    (
        half_installed,
        "releases",
        "Helm release is pending-install (revision 1)",
        "`helm uninstall nemo -n nemo-customizer`",
    ),
    (
        half_upgraded,
        "releases",
        "Helm release is pending-upgrade (revision 4)",
        "`helm rollback nemo 3 -n nemo-customizer`",
    ),
    (
        object_deleted,
        "release objects",
        "Deployment nemo-gone of Helm release nemo (revision 1) is not there",
        "`helm rollback nemo 1 -n nemo-datastore`",
    ),
    (pods_missing, "workloads", "Deployment: 1 of 3 pods ready", ""),
    (cache_loading, "NIMs", "NIMCache is InProgress", "first start"),
    (nim_of_another_cluster, "NIM URL for the Evaluator", "there is no Service elsewhere/nim", "in-cluster URL"),
    (no_gpu_left, "GPUs short", "wants 1 nvidia.com/gpu; the cluster has 4, at most 2 on a node", "autoscaler"),
    (no_node_large_enough, "GPUs short", "wants 4 nvidia.com/gpu", "no node is that large"),
    (device_plugin_missing, "device plugin", "has a GPU by its labels, but no allocatable", "device plugin"),
    (no_toleration, "taint", "does not tolerate nvidia.com/gpu=present:NoSchedule of 2 nodes", "NIMCache"),
    (no_label, "node labels", "pci-10de.present=true", "node feature discovery"),
    (no_memory_left, "no node", "3 Insufficient memory", "larger nodes"),
    (job_waits, "job waits", "waits for 40 of at most 60 minutes (MAX_PENDING_JOB_MINUTES). 1/1 tasks", "max_pending"),
    (no_default_class, "volume pending", "there is no default StorageClass; classes: standard", "mark one as default"),
    (no_such_class, "volume pending", "StorageClass gp3 does not exist; classes: standard", ""),
    (shared_on_a_disk, "volume pending", "one node at a time can mount", "RWX class"),
    (shared_on_a_node, "volume pending", "(rancher.io/local-path) one node at a time can mount", "RWX class"),
    (quota_of_disks, "volume pending", "SSD_TOTAL_GB", ""),
    (key_is_wrong, "image refused", "logs in as $oauthtoken: its key is wrong", "NGC key"),
    (bitnami, "withdrawn image", "bitnami/postgresql:16.1.0", "CloudNativePG"),
    (kubebuilder, "withdrawn image", "kube-rbac-proxy:v0.15.0", "registry.k8s.io/kubebuilder"),
    (no_such_tag, "image missing", "desc = not found", "repository and tag"),
    (training_killed, "killed for memory", "training container main was killed (exit 137)", "micro_batch_size 1"),
    (over_its_limit, "killed for memory", "went over its memory limit", "raise the memory limit"),
    (killed_while_loading, "startup probe", "killed 3 times before it was ready", "startup_minutes"),
    (gpu_too_small, "GPU memory", "CUDA out of memory. Tried to allocate", "fp8"),
    (old_driver, "GPU driver", "unsupported display driver", "newer driver"),
    (disk_full, "disk full", "No space left on device", "job_size"),
    (gated, "gated model", "GatedRepoError", "hf_token"),
    (bad_rows, "training rows", "KeyError: 'completion'", "JSON object per line"),
    (secret_not_there, "cannot be mounted", 'secret "webhook-server-cert" not found', "cert-manager"),
    (crash, "crash", "main ended with 3, 7 restarts: ValueError: DATABASE_URL is not set", "logs --previous"),
    (no_pod_groups, "Volcano CRDs", "the API has no podgroups.scheduling.volcano.sh", "install Volcano"),
    (webhook_x509, "webhook call", "mutatepod.volcano.sh", "volcano-admission-init"),
    (webhook_without_service, "webhook dead", "volcano-system/volcano-admission does not exist", "kubectl delete"),
    (webhook_without_certificate, "webhook dead", "has no caBundle", "cainjector"),
    (pod_security, "pod refused", 'violates PodSecurity "baseline:latest"', "pod_security"),
    (delete_hangs, "delete hangs", "is being deleted for 20 minutes; finalizers: finalizer.nimcache", "controller"),
    (namespace_hangs, "delete hangs", "Some content in the namespace has finalizers remaining", ""),
    (dns_in_the_namespace_only, "DNS policy", "allow no DNS", "UDP and TCP 53"),
    (no_dns, "DNS policy", "allow no DNS", "UDP and TCP 53"),
    (no_way_to_mlflow, "MLflow policy", "allow no way out to MLflow (mlflow/mlflow-tracking:80)", "both sides"),
    (mlflow_lets_nobody_in, "MLflow policy", "let nothing in from nemo-evaluator (evaluator)", "both sides"),
    (mlflow_hosts, "MLflow hosts", "pods that ask for mlflow-tracking.mlflow.svc.cluster.local get 403", "public host"),
    (mlflow_says_so, "MLflow hosts", "Invalid Host header", ""),
    (nim_2, "adapter source", "takes adapters from a folder only", "pin NIM 1.x"),
    (adapters_from_nowhere, "adapter source", "there is no Service nemo/entity-store", "Entity Store must be ready"),
    (small_uploads, "route limits", "proxy-body-size is not set: larger uploads get 413", ""),
    (alias_leads_nowhere, "routes", "not accepted: AIServiceBackend gone.llama not found", "controller of the class"),
    (alias_that_nobody_saw, "routes", "controller of Envoy AI Gateway has not seen it", "controller of the class"),
    (short_streams, "route limits", "Envoy ends streams and slow requests at 15 s", ""),
]
# Sums that rightly change with the thing that is broken.
FOLLOWS = {"volumes", "workloads", "nodes"}


@pytest.mark.parametrize(("damage", "check", "evidence", "fix"), CASES, ids=[case[0].__name__ for case in CASES])
def test_one_thing_broken(damage: Callable[[Broken], None], check: str, evidence: str, fix: str) -> None:
    broken = Broken()
    damage(broken)
    found = wrong(broken.snapshot())
    named = [finding for finding in found if finding.check == check]
    assert any(evidence in finding.evidence and fix in finding.fix for finding in named), [f.line for f in found]
    assert all(finding.fix for finding in named)
    others = {finding.check for finding in found} - {check} - FOLLOWS
    assert others == set(), [f.line for f in found]


def test_every_check_has_a_case() -> None:
    covered = {case[1] for case in CASES}
    assert {check.name for check in (*STATE, *FAILURES)} - covered == {"cluster", "GPUs"}  # below


def test_names_are_unique() -> None:
    names = [check.name for check in (*STATE, *FAILURES)]
    assert len(set(names)) == len(names)


def test_no_gpu_at_all() -> None:
    broken = Broken()
    for name in ("g0", "g1"):
        del broken.get("Node", name)["status"]["allocatable"]["nvidia.com/gpu"]
    found = [f for f in wrong(broken.snapshot()) if f.check == "GPUs"]
    assert [(f.level, f.evidence) for f in found] == [("bad", "0 allocatable on 0 nodes, 1 taken")]


def test_what_may_not_be_seen_is_said() -> None:
    found = wrong(h.snapshot(gaps=("events is forbidden: User dev cannot list resource events",)))
    assert [(f.check, f.level) for f in found] == [("cluster", "warn")]
    assert "User dev cannot list" in found[0].evidence


def test_taints_of_control_plane_are_nobodys_fault() -> None:
    broken = Broken()
    broken.get("Node", "n0")["spec"]["taints"] = [
        {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
    ]
    broken.unscheduled(
        "nim", "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient nvidia.com/gpu."
    )
    assert {f.check for f in wrong(broken.snapshot())} == {"GPUs short"}


def test_claim_that_waits_for_its_pod_is_no_failure() -> None:
    broken = Broken()
    claim = unbound(broken)
    broken.objects.append(h.event(claim, "WaitForFirstConsumer", "waiting for first consumer", kind="Normal"))
    assert {(f.check, f.level) for f in wrong(broken.snapshot())} == {("volume pending", "warn"), ("volumes", "warn")}


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        ([h.pull_secret("llama", user="oauthtoken")], "logs in as oauthtoken, expected the literal $oauthtoken"),
        ([h.pull_secret("nemo-customizer")], "pull secret nvcrimagepullsecret is not in namespace llama"),
    ],
)
def test_why_an_image_is_refused(secrets: list[Object], said: str) -> None:
    broken = Broken()
    key_is_wrong(broken)
    broken.more["secrets"] = tuple(map(secret_facts, secrets))
    (found,) = [f for f in wrong(broken.snapshot()) if f.check == "image refused"]
    assert said in found.evidence
    del broken.pod("nim")["spec"]["imagePullSecrets"]
    (found,) = [f for f in wrong(broken.snapshot()) if f.check == "image refused"]
    assert "the pod names no pull secret" in found.evidence


@pytest.mark.parametrize(("minutes", "level"), [(29, "warn"), (31, "bad")])
def test_a_job_may_wait_half_its_time(minutes: float, level: str) -> None:
    broken = Broken()
    job_waits(broken)  # of at most 60 minutes
    broken.get("PodGroup", "job-2")["metadata"]["creationTimestamp"] = h.stamp(minutes)
    assert [(f.check, f.level) for f in wrong(broken.snapshot())] == [("job waits", level)]


@pytest.mark.parametrize(
    ("phase", "minutes", "named"), [("Pending", 5, True), ("Pending", 1, False), ("Inqueue", 5, False)]
)
def test_a_job_that_volcano_does_not_let_in(phase: str, minutes: float, named: bool) -> None:
    broken = Broken()
    job_waits(broken)
    group = broken.get("PodGroup", "job-2")
    group["status"]["phase"] = phase
    group["metadata"]["creationTimestamp"] = h.stamp(minutes)
    (found,) = wrong(broken.snapshot())
    assert ("has no pods" in found.evidence) is named
    assert ("plugin sla" in found.fix) is named


def test_only_an_up_that_refreshes_restores_what_was_changed_by_hand() -> None:
    """A plain one compares the settings with the state, which does not know of the change."""
    restoring = {check.name: check.fix for check in (*STATE, *FAILURES) if "restore" in check.fix and "up" in check.fix}
    restoring.pop("volumes")  # from a backup
    assert set(restoring) == {"DNS policy", "MLflow policy", "route limits"}
    assert all("`pulumi up --refresh` restores the stack's" in fix for fix in restoring.values())


def test_many_places_are_counted() -> None:
    broken = Broken()
    for number in range(MAX_SHOWN + 3):
        pod = h.pod("nim", gpus=1)
        pod["metadata"]["name"] = f"extra-{number}"
        pod["status"] = {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "message": "2 Insufficient nvidia.com/gpu."}],
        }
        broken.objects.append(pod)
    found = [f for f in wrong(broken.snapshot()) if f.check == "GPUs short"]
    assert len(found) == MAX_SHOWN + 1
    assert found[-1].evidence == "and 3 more"


def test_an_odd_object_costs_one_check_only() -> None:
    broken = Broken()
    del broken.get("Node", "g0")["status"]
    found = wrong(broken.snapshot())
    assert {f.evidence.partition(":")[0] for f in found if f.level == "warn"} >= {"could not be judged"}
    assert "services" not in {f.check for f in found}


def test_foreign_namespaces_are_not_ours() -> None:
    outputs: ClusterOutputs = h.cluster_outputs(namespaces=["nemo-datastore"])
    broken = Broken()
    broken.unscheduled("evaluator", "0/3 nodes are available: 3 Insufficient memory.")
    broken.more["outputs"] = h.outputs(outputs)
    assert wrong(broken.snapshot()) == []


def test_secrets_never_reach_a_finding() -> None:
    said = "\n".join(f"{f.line}{f!r}" for f in diagnose(h.snapshot()))
    assert "very-secret" not in said
    assert "very-secret" not in repr(h.snapshot())
