"""Images in rendered manifests, in every form in which the charts of a stack hand them on."""

import pytest

from infra.rendered_images import images_in

FORMS = {
    "containers of a pod": (
        """
kind: Deployment
spec: {template: {spec: {initContainers: [{name: a, image: "one:1"}], containers: [{name: b, image: "two:2"}, {}]}}}
---
kind: CronJob
spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: three@sha256:0}]}}}}}
""",
        {"one:1", "two:2", "three@sha256:0"},
    ),
    "argument (cert-manager's solver, Prometheus' reloader)": (
        """
kind: Deployment
spec:
  containers: [{image: "a:1", args: [--acme-http01-solver-image=quay.io/jetstack/cert-manager-acmesolver:v1.21.1]}]
""",
        {"a:1", "quay.io/jetstack/cert-manager-acmesolver:v1.21.1"},
    ),
    "variable (jobs of the Evaluator, files of the Deployment Management)": (
        """
kind: Deployment
env:
- {name: JOBS_IMAGE, value: "fluent/fluent-bit:4.0.7"}
- {name: MODEL_PULLER, value: "nvcr.io/nvidia/nemo-microservices/nds-v2-huggingface-cli:25.06"}
- {name: NIM_IMAGE_PULL_SECRETS, value: nvcrimagepullsecret}
- {name: URL, value: "http://nemo-core.nemo.svc.cluster.local:8000/v1:x"}
""",
        {"fluent/fluent-bit:4.0.7", "nvcr.io/nvidia/nemo-microservices/nds-v2-huggingface-cli:25.06"},
    ),
    "custom resource of Prometheus": (
        "kind: Prometheus\nspec: {image: 'quay.io/prometheus/prometheus:v3.9.0', version: v3.9.0}",
        {"quay.io/prometheus/prometheus:v3.9.0"},
    ),
    "parts, in the policy of the GPU operator": (
        """
kind: ClusterPolicy
spec:
  driver: {enabled: true, repository: nvcr.io/nvidia, image: driver, version: 595.91.07,
           manager: {repository: nvcr.io/nvidia/cloud-native, image: k8s-driver-manager, version: v0.12.0}}
  dcgm: {enabled: false, repository: nvcr.io/nvidia/cloud-native, image: dcgm, version: "4.6.0"}
  vgpuManager: {enabled: false, image: vgpu-manager}
  toolkit: {enabled: true, repository: nvcr.io/nvidia/k8s, image: container-toolkit, version: "sha256:00"}
""",
        {
            "nvcr.io/nvidia/driver:595.91.07",
            "nvcr.io/nvidia/cloud-native/k8s-driver-manager:v0.12.0",
            "nvcr.io/nvidia/k8s/container-toolkit@sha256:00",
        },
    ),
    "configuration of the Customizer and of Core, in ConfigMaps": (
        """
kind: ConfigMap
data:
  config.yaml: |
    training:
      image: "nvcr.io/nvidia/nemo-microservices/customizer:25.12"
      automodelImage: "nvcr.io/nvidia/nemo-microservices/customizer-automodel:25.12"
      imagePullSecrets: [{name: nvcrimagepullsecret}]
    executors:
    - storage: {volume_permissions_image: busybox}
      logging: {image: {registry: docker.io, repository: fluent/fluent-bit, tag: 4.0.7}}
    models: {default_nimservice_image: nvcr.io/nim/nvidia/llm-nim, default_nimservice_image_tag: 1.14.1}
  job.yaml: |
    containers: [{image: "placeholder-image:placeholder-tag"}]
  notes.txt: |
    no: {yaml
""",
        {
            "nvcr.io/nvidia/nemo-microservices/customizer:25.12",
            "nvcr.io/nvidia/nemo-microservices/customizer-automodel:25.12",
            "busybox",
            "docker.io/fluent/fluent-bit:4.0.7",
            "nvcr.io/nim/nvidia/llm-nim:1.14.1",
        },
    ),
    "an example in a definition is none": (
        "kind: CustomResourceDefinition\nspec: {description: 'such as quay.io/prometheus/prometheus:v2'}",
        set(),
    ),
    "an image that a person describes in words is none": (
        "kind: ConfigMap\nmetadata: {annotations: {image: 'the image of the day'}}",
        set(),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form(form: str) -> None:
    manifests, images = FORMS[form]
    assert images_in(manifests) == images
