"""The program on a real Kubernetes control plane, with the real Pulumi engine and without a cloud.

Real: etcd, API server (validation, defaults, RBAC, Pod Security, quotas), controllers (Deployments, Jobs, garbage,
namespaces, tokens, binding of volumes) and the scheduler. Simulated: nodes, GPUs and pods by kwok - no container
runs, a pod is Ready (or a Job's pod Succeeded) as soon as it is scheduled, whatever its image, command and probes;
storage by `volumes.py`; operators of custom resources and a cloud's load balancers by `operators.py`. Absent: Services
do not route, NetworkPolicies are accepted and not enforced, webhooks cannot be reached, there are no metrics.

Linux only: processes end with their parent by a system call that only Linux has.
"""
