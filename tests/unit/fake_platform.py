"""A NeMo Platform of a few lines that holds what it is given, for an httpx transport."""

import json
from typing import Any

import httpx

URL = "http://platform.test"
VIRTUAL = "/apis/inference-gateway/v2/workspaces/default/virtual-models/"
ROUTED = "/apis/inference-gateway/v2/workspaces/default/openai/-/v1/models"
STATUS = {"services": {"ready": ["files", "models"], "not_ready": []}, "controllers": {"status": {"jobs": True}}}


class FakePlatform:
    """Filesets, entities and virtual models in memory; what there is a virtual model of is routed at once."""

    def __init__(self) -> None:
        self.things: dict[str, Any] = {"/health/ready": {"status": "ready"}, "/status": STATUS}
        self.files: dict[str, bytes] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if "/-/" in path and request.method == "PUT":
            self.files[path] = request.read()
            return httpx.Response(200, json={})
        if path in self.files:
            return httpx.Response(200, content=self.files[path])
        if path.endswith(("/filesets", "/models", "/jobs", "/virtual-models")) and "page_size" in request.url.params:
            return self.page([thing for key, thing in self.things.items() if key.startswith(f"{path}/")], request)
        if path.endswith("/files") and path.removesuffix("/files") in self.things:
            own = path.removesuffix("files") + "-/"
            held = [{"path": key.removeprefix(own), "size": len(self.files[key])} for key in self.files if own in key]
            return httpx.Response(200, json={"data": held})
        if request.method == "PATCH" and path in self.things:
            self.things[path] |= json.loads(request.read())
            return httpx.Response(200, json={})
        if request.method == "POST":
            name = f"{path}/{json.loads(request.read())['name']}"
            if name in self.things:
                return httpx.Response(409, json={"detail": "exists"})
            self.things[name] = json.loads(request.read())
            return httpx.Response(201, json={})
        if path == ROUTED and path not in self.things:
            ids = [f"default/{key.removeprefix(VIRTUAL)}" for key in self.things if key.startswith(VIRTUAL)]
            return httpx.Response(200, json={"data": [{"id": one} for one in ids]})
        if path not in self.things:
            return httpx.Response(404, json={"detail": "no such thing"})
        if request.method == "DELETE":
            del self.things[path]
            return httpx.Response(204)
        return httpx.Response(200, json=self.things[path])

    @staticmethod
    def page(rows: list[Any], request: httpx.Request) -> httpx.Response:
        number, size = (int(request.url.params.get(name, 1)) for name in ("page", "page_size"))
        return httpx.Response(200, json={"data": rows[(number - 1) * size : number * size]})
