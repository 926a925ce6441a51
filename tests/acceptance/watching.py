"""A real Prometheus beside the running product, with the rules of deploy/, and the questions of its dashboards."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.acceptance.product import wait_until
from tests.deploy.tools import prometheus_tool

if TYPE_CHECKING:
    from tests.acceptance.product import Product

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"
SCRAPE_SECONDS = 2


class Watching:
    """Scrapes every process of a product until ``stop``."""

    def __init__(self, product: Product) -> None:
        folder = product.folder / "prometheus"
        folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.parts = {
            name: part["ports"]["metrics"] for name, part in product.status().items() if "metrics" in part["ports"]
        }
        scrape = {
            "job_name": "stillwatch",
            "honor_labels": True,
            "static_configs": [{"targets": [f"127.0.0.1:{each}" for each in self.parts.values()]}],
        }
        config = {
            "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
            "rule_files": [str(RULES / "*.rules.yml")],
            "scrape_configs": [scrape],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self.port = port
        self.log = folder / "log"
        line = [
            str(prometheus_tool("prometheus")),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(line, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        self.began = time.time()  # noqa: TID251 - Prometheus is asked by the wall clock
        wait_until(self._answers, 60, "Prometheus answers")

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log.read_text(encoding="utf-8")[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def get(self, path: str, **query: str | float) -> Any:
        """Ask Prometheus' own interface; fails with its words where it refuses."""
        asked = f"{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{asked}", timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refused:
            with refused:
                raise AssertionError(f"{query}: {refused.read().decode()}") from refused

    def points(self, expression: str) -> int:
        """Count the numbers that an expression gave since the beginning, every five seconds; NaN is none."""
        end = time.time()  # noqa: TID251 - as above
        found = self.get("query_range", query=expression, start=self.began, end=end, step=5)
        return sum(not math.isnan(float(value)) for series in found["result"] for _, value in series["values"])

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
