"""A program that answers as kubectl would, from files in a folder; real processes, pipes and sockets.

What it can: `version`, `api-resources`, `get` (objects, Secrets by name, table and records of Helm's Secrets), `apply`
and `delete` (of one object), `logs`, and `port-forward`, which really forwards to ports of this machine and, like
kubectl, ends at the first connection that its pod does not take. Each call is written down.
"""

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

_PROGRAM = """#!{python} -IS
import json, socket, sys, threading, time
from pathlib import Path
FOLDER = Path({folder!r})
argv = sys.argv[1:]
config = dict(kubeconfig=None, context=None)
while argv and argv[0] in ("--kubeconfig", "--context"):
    config[argv[0][2:]] = argv[1]
    argv = argv[2:]
if config["kubeconfig"]:
    path = Path(config["kubeconfig"])
    config["mode"], config["text"] = oct(path.stat().st_mode & 0o777), path.read_text()
argv = [a for a in argv if not a.startswith("--request-timeout")]
with (FOLDER / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps(dict(config, argv=argv)) + "\\n")
def read(name):
    path = FOLDER / name
    return path.read_text() if path.exists() else ""
for rule in json.loads(read("failures.json") or "[]"):
    if rule["match"] in " ".join(argv):
        time.sleep(rule.get("sleep", 0))
        sys.stdout.write(rule.get("stdout", ""))
        sys.stderr.write(rule["stderr"])
        sys.exit(rule.get("code", 1))
def is_one(o, resource, kind):
    group, _, version = o.get("apiVersion", "").partition("/")
    return o["kind"] == kind and (not version or group == resource.partition(".")[2])
verb = argv[0]
if verb == "version":
    print(json.dumps({{"serverVersion": {{"gitVersion": "v1.33.4"}}}}))
elif verb == "api-resources":
    print(read("api-resources.txt"), end="")
elif verb == "get" and "--selector=owner=helm" in argv:
    print(read("releases.txt"), end="")
elif verb == "get" and "--selector=owner=helm,status=deployed" in argv:
    print(read("manifests.txt"), end="")
elif verb == "get":
    found = json.loads(read("objects.json") or "[]")
    if argv[1] == "secrets":
        name = next(a.split("metadata.name=")[1] for a in argv if "metadata.name=" in a)
        found = [o for o in json.loads(read("secrets.json") or "[]") if o["metadata"]["name"] == name]
    else:
        kinds = json.loads(read("kinds.json") or "{{}}")
        found = [o for o in found if any(is_one(o, name, kinds.get(name)) for name in argv[1].split(","))]
    print(json.dumps(dict(kind="List", items=found)))
elif verb in ("apply", "delete"):
    found = json.loads(read("objects.json") or "[]")
    given = json.load(sys.stdin) if verb == "apply" else None
    kind = given["kind"] if given else json.loads(read("kinds.json"))[argv[1]]
    resource = "." + given["apiVersion"].split("/")[0] if given else argv[1]
    name = given["metadata"]["name"] if given else argv[2]
    rest = [o for o in found if not (is_one(o, resource, kind) and o["metadata"]["name"] == name)]
    if not given and len(rest) == len(found):
        sys.exit(f'Error from server (NotFound): "{{name}}" not found')
    (FOLDER / "objects.json").write_text(json.dumps([*rest, *([given] if given else [])]))
elif verb == "logs":
    namespace = next(a.split("=")[1] for a in argv if a.startswith("--namespace="))
    text = read(f"{{namespace}}.{{argv[2]}}.log")
    if not text:
        sys.exit("Error from server (NotFound): no log")
    print(text, end="")
elif verb == "port-forward":
    namespace = next(a.split("=")[1] for a in argv if a.startswith("--namespace="))
    service = next(a.split("/")[1] for a in argv if a.startswith("service/"))
    local, port = argv[-1].split(":")
    targets = json.loads(read("targets.json"))
    key = f"{{namespace}}/{{service}}:{{port}}"
    if key not in targets:
        sys.exit(f'Error from server (NotFound): services "{{service}}" not found')
    try:
        server = socket.create_server(("127.0.0.1", int(local)))
    except OSError:
        sys.exit(f"error: unable to listen on any of the requested ports: [{{{{{{local}} {{port}}}}}}]")
    print(f"Forwarding from 127.0.0.1:{{local}} -> {{port}}", flush=True)
    def pipe(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass
    while True:
        client, _ = server.accept()
        print(f"Handling connection for {{local}}", flush=True)
        try:
            pod = socket.create_connection(("127.0.0.1", json.loads(read("targets.json"))[key]), 2)
        except OSError:
            sys.exit("error: lost connection to pod")
        for pair in ((client, pod), (pod, client)):
            threading.Thread(target=pipe, args=pair, daemon=True).start()
"""


class FakeKubectl:
    """The program and its folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / "kubectl"
        self.path.write_text(textwrap.dedent(_PROGRAM).format(python=sys.executable, folder=str(folder)))
        self.path.chmod(0o755)

    def write(self, name: str, value: Any) -> None:
        """Set what it answers: text, or JSON."""
        (self.folder / name).write_text(value if isinstance(value, str) else json.dumps(value))

    def fail(self, match: str, stderr: str, **more: Any) -> None:
        """Fail from now on where the arguments contain `match`."""
        path = self.folder / "failures.json"
        rules = json.loads(path.read_text()) if path.exists() else []
        self.write("failures.json", [*rules, {"match": match, "stderr": stderr, **more}])

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What it was asked so far."""
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
