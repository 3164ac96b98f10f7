"""Our tabs on Locust's page, and what that page may not do: it shows one run, whose settings stand.

The page is for this machine: it listens on 127.0.0.1 unless told otherwise, since Locust asks nobody who he is, and
answers no other site that a browser may have open.
"""

import json
from typing import Any, Final
from urllib.parse import urlsplit

import gevent
from flask import Response, jsonify, request, send_file
from locust.runners import MasterRunner
from locust.web import WebUI

from load_tests.options import RunManifest
from load_tests.verdict.slo import read_slo
from load_tests.web.live import COLUMNS, SERVER_COLUMNS, Live

MODELS: Final = "nim"
SERVER: Final = "server"
REPORT: Final = "/nemostack/report"
REFRESH_S: Final = 1.0
POLL_S: Final = 0.05
LOOPBACK: Final = "127.0.0.1"


class Page:
    """Our part of the page of a run, which begins by itself and is the only one of its folder."""

    def __init__(self, web_ui: WebUI, manifest: RunManifest) -> None:
        self._environment = web_ui.environment
        self._out = manifest.spec.out
        slo = read_slo(manifest.spec.slo) if manifest.spec.slo else None
        self._live = Live(manifest, slo.limits if slo else {})
        parsed: Any = web_ui.environment.parsed_options
        if parsed.web_host != "*":
            web_ui.host = web_ui.host or LOOPBACK
        web_ui.template_args |= {
            "extended_tabs": [{"title": "NIM", "key": MODELS}, {"title": "Server", "key": SERVER}],
            "extended_tables": [_table(MODELS, COLUMNS), _table(SERVER, SERVER_COLUMNS)],
            "extended_csv_files": [{"href": REPORT, "title": "Report of this run, after its end"}],
        }
        self.url = f"http://{web_ui.host}:{web_ui.port}"
        app = web_ui.app
        assert app is not None
        app.before_request(self._refuse)
        app.after_request(self._extend)
        app.add_url_rule(REPORT, "nemostack-report", self._report)
        gevent.spawn(self._follow)

    def _follow(self) -> None:
        while True:
            gevent.sleep(0 if self._live.refresh() else REFRESH_S)

    def _refuse(self) -> Response | tuple[Response, int] | None:
        origin = request.headers.get("Origin")
        if origin and urlsplit(origin).netloc != request.host:
            return jsonify({"success": False, "message": f"a page of {origin} may not ask here"}), 403
        if request.path == "/swarm":
            message = "a folder holds one run: give the command again for another"
            return jsonify({"success": False, "message": message, "host": ""})
        if request.path == "/stop" and self._is_ahead():
            gevent.spawn(self._stop_once_begun)
            return jsonify({"success": True, "message": "the run has not begun: it stops as soon as it has"})
        return None

    def _is_ahead(self) -> bool:
        """Whether the run has yet to begin: a master told to stop before all users run forgets it or waits."""
        runner = self._environment.runner
        return isinstance(runner, MasterRunner) and not runner.spawning_completed

    def _stop_once_begun(self) -> None:
        while self._is_ahead():
            gevent.sleep(POLL_S)
        assert self._environment.runner is not None
        self._environment.runner.stop()

    def _extend(self, response: Response) -> Response:
        if request.path == "/stats/requests" and response.is_json:
            shown: dict[str, Any] = response.get_json()
            shown["extended_stats"] = [
                {"key": MODELS, "data": self._live.models()},
                {"key": SERVER, "data": self._live.server()},
            ]
            response.set_data(json.dumps(shown))
        return response

    def _report(self) -> Response | tuple[str, int]:
        path = self._out / "report.html"
        if not path.is_file():
            return "The report is made when the run ends.", 404
        return send_file(path.absolute())


def _table(key: str, columns: dict[str, str]) -> dict[str, Any]:
    return {"key": key, "structure": [{"key": name, "title": title} for name, title in columns.items()]}
