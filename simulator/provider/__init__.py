"""A small stand-in for Pulumi's Kubernetes plugin, used by the simulated cluster only.

`pulumi up` with `pulumi_kubernetes` needs the plugin `pulumi-resource-kubernetes`. Where it can be downloaded it is
the thing to use (`plugin.official()` finds it); where it cannot, this package speaks the same gRPC protocol, so that
the real engine, real state and a real API server are exercised all the same. Types, state layout and rules follow the
official plugin, so a state written by one can be read by the other:

    server      the protocol: which request goes where, errors as the engine wants them
    objects     plain Kubernetes resources and custom resources   -> cluster, readiness, difference
    releases    kubernetes:helm.sh/v3:Release                     -> helm (the binary), charts
    properties  Pulumi's wire values: secrets, unknowns

It refuses what the program under test does not use: List kinds, Kustomize, Helm v4 charts, rendering to
YAML, client-side apply, exec credentials in a kubeconfig. It is stricter than the official plugin in one way: a field
that the API server does not know is an error.
"""
