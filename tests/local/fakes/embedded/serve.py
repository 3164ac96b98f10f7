"""A fast stand-in for the embedded services: answers every GET on the port of its settings, and nothing else.

Files in the folder `orders` of the clone make it misbehave: `NAME.fail` ends it, `NAME.slow` keeps it from answering
until the order is withdrawn, `NAME.worker` makes it leave a worker process behind that outlives it, as a killed vLLM
does, and `NAME.hang` makes the process that is running, but not the next one, answer no more requests.
"""

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def models() -> dict[str, Any]:
    """List what a NIM would serve: its base model, and an adapter for each folder where it looks for them."""
    settings = json.loads(Path(sys.argv[2]).read_text())
    base, source = settings.get("base_model"), settings.get("peft_source")
    folders = sorted(Path(source).glob("[!.]*")) if source else []
    adapters = [{"id": folder.name, "object": "model", "root": str(folder), "parent": base} for folder in folders]
    return {"object": "list", "data": [{"id": base, "object": "model", "root": base, "parent": None}, *adapters]}


class Handler(BaseHTTPRequestHandler):
    """Healthy."""

    hang = Path()
    hangs = threading.Event()

    def do_GET(self) -> None:
        """Answer."""
        if self.hang.exists():
            self.hangs.set()
            self.hang.unlink(missing_ok=True)
        if self.hangs.is_set():
            time.sleep(600)
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(models() if self.path == "/v1/models" else {}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(name: str, port: int) -> None:
    orders = Path("orders")
    if (orders / f"{name}.fail").exists():
        sys.exit(f"{name} was told to fail")
    while (orders / f"{name}.slow").exists():
        time.sleep(0.05)
    if (orders / f"{name}.worker").exists():
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Handler.hang = orders / f"{name}.hang"
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(Path(sys.argv[2]).read_text())["port"])
