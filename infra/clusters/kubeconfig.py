"""Kubeconfigs of clusters that we make: they hold a command that fetches a short-lived token, never a credential.

Pure. Whoever uses one needs the cloud's command line program and a login of their own there.
"""

import base64
import json
from collections.abc import Sequence
from typing import Any

import yaml


def kubeconfig(name: str, server: str, ca: str, command: Sequence[str], hint: str) -> str:
    """Return a kubeconfig as JSON. `ca`: certificate authority, base64. `hint`: shown where `command` is missing."""
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": command[0],
        "args": list(command[1:]),
        "installHint": hint,
        "interactiveMode": "IfAvailable",
        "provideClusterInfo": True,
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": ca}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
        "users": [{"name": name, "user": {"exec": plugin}}],
    }
    return json.dumps(config)


def gke(name: str, endpoint: str, ca: str) -> str:
    """Return the kubeconfig of a GKE cluster."""
    # without the flag the plugin asks for the account of `gcloud auth login`, which is not the one of Pulumi's provider
    command = ["gke-gcloud-auth-plugin", "--use_application_default_credentials"]
    hint = "gcloud components install gke-gcloud-auth-plugin"
    return kubeconfig(name, f"https://{endpoint}", ca, command, hint)


def eks(name: str, region: str, endpoint: str, ca: str) -> str:
    """Return the kubeconfig of an EKS cluster."""
    command = ["aws", "eks", "get-token", "--cluster-name", name, "--region", region, "--output", "json"]
    return kubeconfig(name, endpoint, ca, command, "install version 2 of the AWS command line")


AKS_SERVER_ID = "6dae42f8-4368-4678-94ff-3960e28e3630"
"""Application id of AKS's API server in Microsoft Entra, the same for every cluster."""


def aks(name: str, issued: str) -> str:
    """Return the kubeconfig of an AKS cluster. `issued`: base64, as Azure hands it out; only its place is taken."""
    address: dict[str, Any] = yaml.safe_load(base64.b64decode(issued))["clusters"][0]["cluster"]
    command = ["kubelogin", "get-token", "--login", "azurecli", "--server-id", AKS_SERVER_ID]
    return kubeconfig(name, address["server"], address["certificate-authority-data"], command, "az aks install-cli")
