"""The audit of the locks says what it could not ask about, and the bill of materials is of the lock and valid."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation import make_schemabased_validator

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([a-z0-9-]+)(?:\[[a-z,]*\])?==([^\s;]+)", re.MULTILINE)
HASH = "--hash=sha256:" + "0" * 64


def audit(*arguments: str | Path, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, ROOT / "deploy" / "audit.py", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "some.lock"
    path.write_text(f"jinja2==3.1.2 \\\n    {HASH}\nurllib3==2.9.0 \\\n    {HASH}\n", encoding="ascii")
    return path


def advisory(number: int, name: str, **affected: Any) -> dict[str, Any]:
    return {"id": f"PYSEC-0-{number}", "affected": [{"package": {"ecosystem": "PyPI", "name": name}, **affected}]}


def span(*events: dict[str, str]) -> dict[str, Any]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": list(events)}]}


def export(path: Path, *records: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for record in records:
            file.writestr(f"{record['id']}.json", json.dumps(record))
    return path


@pytest.mark.enable_socket
def test_what_no_service_was_asked_about_is_not_called_free_of_vulnerabilities(lock: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    code, said = audit(lock, "--seconds", "2", HTTPS_PROXY=nowhere, https_proxy=nowhere, NO_PROXY="", no_proxy="")
    assert code == 3
    assert "0 of 2 releases asked about" in said
    assert "NOT AUDITED: 2 releases" in said
    assert "Traceback" not in said


class Osv(BaseHTTPRequestHandler):
    """OSV's query of one release, in its own form: one release has an advisory."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = advisory(1, "jinja2", **span({"introduced": "0"}, {"fixed": "3.1.3"}))
        body = json.dumps({"vulns": [known]} if asked["package"]["name"] == "jinja2" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Osv)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    server.server_close()


@pytest.mark.enable_socket
def test_a_mirror_of_the_service_is_asked_and_a_vulnerable_release_fails(lock: Path, mirror: str) -> None:
    code, said = audit(lock, "--osv-url", mirror)
    assert code == 1
    assert "jinja2==3.1.2 is vulnerable: PYSEC-0-1" in said
    assert "2 of 2 releases asked about, 1 vulnerable." in said
    lock.write_text(f"urllib3==2.9.0 \\\n    {HASH}\n", encoding="ascii")
    assert audit(lock, "--osv-url", mirror)[0] == 0


@pytest.mark.parametrize(
    ("affected", "found"),
    [
        (span({"introduced": "0"}, {"fixed": "3.1.3"}), True),
        (span({"introduced": "0"}, {"fixed": "3.1.2"}), False),
        (span({"introduced": "3.0"}, {"last_affected": "3.1.2"}), True),
        (span({"introduced": "3.0"}, {"last_affected": "3.1.1"}), False),
        (span({"introduced": "0"}, {"fixed": "2.0"}, {"introduced": "3.1"}), True),
        (span({"introduced": "3.1.3"}), False),
        (span({"introduced": "0"}, {"fixed": "no-version"}), True),
        ({"versions": ["3.1.2"]}, True),
        ({"versions": ["3.1.20"]}, False),
    ],
)
def test_an_export_of_the_database_is_read_by_its_own_rules(
    lock: Path, tmp_path: Path, affected: dict[str, Any], *, found: bool
) -> None:
    gone = advisory(2, "urllib3", **span({"introduced": "0"})) | {"withdrawn": "2026-01-01T00:00:00Z"}
    database = export(tmp_path / "all.zip", advisory(1, "Jinja2", **affected), gone)
    code, said = audit(lock, "--database", database)
    assert (code == 1) is found, said
    assert ("jinja2==3.1.2 is vulnerable: PYSEC-0-1" in said) is found
    assert "urllib3==2.9.0 is" not in said


@pytest.mark.parametrize(
    ("written", "lock_name"), [("sbom", "requirements.lock"), ("sbom-image", "deploy/requirements.lock")]
)
def test_the_bill_of_materials_has_every_release_of_its_lock_and_is_valid(
    written: str, lock_name: str, tmp_path: Path
) -> None:
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "sbom"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (line,) = (line for line in recipe.splitlines() if f"build/{written}.json " in line)
    path = tmp_path / "sbom.json"
    command = [sys.executable, *line.replace(f"build/{written}.json", str(path)).split()[1:]]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    text = path.read_text(encoding="utf-8")
    assert make_schemabased_validator(OutputFormat.JSON, SchemaVersion.V1_6).validate_str(text) is None
    told = json.loads(text)
    pins = set(PIN.findall((ROOT / lock_name).read_text(encoding="utf-8")))
    assert {(each["name"], each["version"]) for each in told["components"]} == pins
    assert all(each["purl"].startswith("pkg:pypi/") for each in told["components"])
    assert told["metadata"]["component"]["name"] == "stillwatch"
    assert all(each["externalReferences"][0]["hashes"] for each in told["components"])
