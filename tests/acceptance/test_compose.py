"""docker-compose.yml: Compose's own loader accepts it; images are pinned, every part has a health check, no secret."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.settings import _SECRETS
from tests.deploy.tools import go_tool

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
PINNED = re.compile(r"[a-z0-9./-]+:v?[0-9][\w.-]*@sha256:[0-9a-f]{64}")
DOCUMENT: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
TASKS = {"topics", "migrate"}
BESIDE = {"prometheus", "grafana"}  # With the profile `full` only.
every_service = pytest.mark.parametrize("name", SERVICES)


@pytest.fixture(scope="session")
def loader() -> Path:
    """Compose's own loader, built from its Go module."""
    return go_tool("compose-go")


@pytest.mark.acceptance
def test_the_loader_of_compose_accepts_the_file(loader: Path) -> None:
    loaded = subprocess.run(
        [loader, "-format", "json", COMPOSE.name],
        cwd=ROOT,
        env={**os.environ, "COMPOSE_PROFILES": "full"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    model = json.loads(loaded.stdout)
    assert set(model["services"]) == set(SERVICES)
    for name, service in model["services"].items():
        assert service["healthcheck"]["test"], name
        for secret in service.get("secrets", []):
            assert secret["source"] in model["secrets"], name
    assert model["services"]["accounts"]["depends_on"]["topics"]["condition"] == "service_completed_successfully"


@pytest.mark.acceptance
def test_the_loader_refuses_a_file_that_is_wrong(loader: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(COMPOSE.read_text(encoding="utf-8").replace("depends_on:", "depend_on:"), "utf-8")
    loaded = subprocess.run([loader, wrong], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert loaded.returncode != 0
    assert "depend_on" in loaded.stdout + loaded.stderr


@every_service
def test_what_a_service_refers_to_is_there(name: str) -> None:
    # The loader's command checks the form of the file, not these.
    service = SERVICES[name]
    assert set(service["networks"]) <= set(DOCUMENT["networks"])
    assert set(service.get("secrets", [])) <= set(DOCUMENT["secrets"])
    for volume in service.get("volumes", []):
        source, _, target = volume.partition(":")
        if source.startswith("./"):
            assert (ROOT / source).is_dir()
            assert target.endswith(":ro"), "what is in the repository is nobody's to change"
        else:
            assert source in DOCUMENT["volumes"]
    for other, how in service.get("depends_on", {}).items():
        finished = how["condition"] == "service_completed_successfully"
        assert finished == (other in TASKS)
        assert other in SERVICES


@every_service
def test_every_image_is_pinned(name: str) -> None:
    service = SERVICES[name]
    if "build" in service:
        assert re.fullmatch(r"stillwatch:\d+\.\d+\.\d+", service["image"])
        assert service["pull_policy"] == "build", "no registry has our image, and none may lend its name to another"
    else:
        assert PINNED.fullmatch(service["image"])


def test_the_base_image_is_pinned_and_the_process_is_not_root() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    bases = {line.split()[1] for line in lines if line.startswith("FROM ")}
    assert len(bases) == 1
    assert PINNED.fullmatch(bases.pop())
    assert next(line for line in reversed(lines) if line.startswith("USER ")) == "USER 10001:10001"
    installs = [line for line in lines if "pip install" in line and "--no-deps" not in line]
    assert installs
    assert all("--require-hashes" in line for line in installs)


def test_the_image_says_the_version_of_the_project() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    assert DOCUMENT["x-process"]["image"] == f"stillwatch:{version[1]}"


@every_service
def test_every_service_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD", "no shell between the check and its exit code"
    assert {"interval", "timeout", "retries"} <= set(check)
    assert (service := SERVICES[name]).get("profiles") == (["full"] if name in BESIDE else None), service["image"]
    if name not in TASKS | BESIDE | {"kafka", "postgres"}:
        assert "/readyz" in check["test"][-1]


@every_service
def test_no_secret_stands_in_clear(name: str) -> None:
    environment: dict[str, str] = SERVICES[name].get("environment", {})
    for variable, value in environment.items():
        if re.search(r"PASSWORD|SECRET|TOKEN|HMAC|DATABASE_URL|CREDENTIAL", variable):
            assert variable.endswith("_FILE"), variable
            assert value.removeprefix("/run/secrets/") in SERVICES[name]["secrets"]
    text = json.dumps(SERVICES[name])
    assert not re.search(r"://[^/\s:]+:[^@\s]+@", text), "an address with a password in it"
    for setting in _SECRETS:
        assert f"STILLWATCH_{setting.upper()}" not in environment


def test_every_secret_is_a_file_that_git_never_sees() -> None:
    for name, secret in DOCUMENT["secrets"].items():
        assert secret == {"file": f"deploy/secrets/{name}"}
        ignored = subprocess.run(["git", "check-ignore", "-q", secret["file"]], cwd=ROOT, check=False)
        if (ROOT / ".git").exists():
            assert ignored.returncode == 0


@pytest.mark.parametrize("name", [name for name in SERVICES if "build" in SERVICES[name]])
def test_our_processes_hold_no_privilege(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == ("no" if name in TASKS else "unless-stopped")


def test_the_key_goes_to_the_gateways_side_only() -> None:
    assert {name for name, service in SERVICES.items() if "hmac_key" in service.get("secrets", [])} == {"normalise"}


def test_only_the_api_and_grafana_are_published_and_only_to_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8080:8080"], "grafana": ["127.0.0.1:3000:3000"]}


def test_the_script_makes_each_secret_once(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets"
    shutil.copy(ROOT / "deploy" / "make-secrets", script)
    subprocess.run([script], check=True, capture_output=True)
    made = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(DOCUMENT["secrets"])
    assert re.fullmatch(r"[0-9a-f]{64}", made["hmac_key"])
    assert made["postgres_password"] != made["hmac_key"]
    assert made["postgres_password"] in made["database_url"]
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    subprocess.run([script], check=True, capture_output=True)
    assert {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "secrets").iterdir()} == made


def test_the_image_takes_its_share_of_the_lock_and_no_other_version() -> None:
    def pins(path: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==[\w.]+)", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE))

    whole = pins("requirements.lock")
    assert pins("deploy/requirements.lock") < whole
    assert pins("deploy/build.lock") < whole
