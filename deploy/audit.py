"""Known vulnerabilities in what the locks name: by a service that answers, else by a copy of OSV's database.

pip-audit leaves out what its service does not know and calls the rest free of vulnerabilities, though nothing was
asked. Here a release that nobody was asked about is never called free of them.

Exit codes: 0 every release was asked about and none is vulnerable, 1 some are, 3 some could not be asked about.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Final, NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT: Final = Path(__file__).parents[1]
# The image's and the build's locks are shares of the first one.
LOCKS: Final = ("requirements.lock", "deploy/litellm.lock")
VULNERABLE: Final = 1
NOT_ASKED: Final = 3
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)", re.MULTILINE)


class Found(NamedTuple):
    """What is known of a lock's releases. ``why`` is "" where a service or a database was asked."""

    vulnerable: dict[str, list[str]]
    not_asked: set[str]
    why: str = ""


def pinned(lock: Path) -> set[str]:
    """Give the lock's releases as ``name==version``, names in their canonical form."""
    return {f"{canonicalize_name(name)}=={version}" for name, version in _PIN.findall(lock.read_text(encoding="utf-8"))}


def ask_service(lock: Path, service: list[str], seconds: int) -> Found:
    """Ask a service through pip-audit, which reads the lock and installs nothing."""
    line = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
    line += ["--format", "json", "--timeout", str(seconds), "--requirement", str(lock), *service]
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603 - our own line, no shell
    releases = pinned(lock)
    try:
        told = json.loads(done.stdout)["dependencies"]
    except ValueError:
        # Its last line is the error's; a traceback of pip-audit says nothing more to whoever reads this.
        last = (done.stderr.strip() or f"code {done.returncode}").splitlines()[-1]
        return Found({}, releases, last.partition(":")[0].rpartition(".")[2])
    asked = {f"{canonicalize_name(each['name'])}=={each['version']}": each["vulns"] for each in told if "vulns" in each}
    vulnerable = {release: [str(vuln["id"]) for vuln in vulns] for release, vulns in asked.items() if vulns}
    not_asked = releases - set(asked)
    return Found(vulnerable, not_asked, "it does not know these releases" if not_asked else "")


def ask_database(releases: set[str], database: Path) -> Found:
    """Look the releases up in OSV's export for PyPI, a zip with one JSON record for each advisory."""
    wanted: dict[str, list[str]] = {}
    for name, _, version in (each.partition("==") for each in releases):
        wanted.setdefault(name, []).append(version)
    vulnerable: dict[str, list[str]] = {}
    with zipfile.ZipFile(database) as export:
        for member in export.namelist():
            record = json.loads(export.read(member))
            for affected in () if "withdrawn" in record else record.get("affected", ()):
                package = affected.get("package", {})
                name = canonicalize_name(package.get("name", ""))
                for version in wanted.get(name, ()) if package.get("ecosystem") == "PyPI" else ():
                    if _concerns(affected, version):
                        vulnerable.setdefault(f"{name}=={version}", []).append(str(record["id"]))
    return Found(vulnerable, set())


def _concerns(affected: dict[str, Any], version: str) -> bool:
    """Whether an advisory is about this version: it is listed, or lies in a range (OSV's rules)."""
    if version in affected.get("versions", ()):
        return True
    ranges = (each for each in affected.get("ranges", ()) if each.get("type") == "ECOSYSTEM")
    return any(_within(each["events"], Version(version)) for each in ranges)


def _within(events: list[dict[str, str]], version: Version) -> bool:
    """Whether a version lies in a range; a bound that is no version by PEP 440 ends nothing, so doubt is told."""
    moments: list[tuple[Version, str]] = []
    for event in events:
        ((kind, bound),) = event.items()
        try:
            moments.append((Version("0.dev0" if bound == "0" else bound), kind))
        except InvalidVersion:
            moments += [(Version("0.dev0"), kind)] if kind == "introduced" else []
    inside = False
    for bound, kind in sorted(moments):
        if kind == "introduced" and bound <= version:
            inside = True
        elif (kind == "fixed" and bound <= version) or (kind == "last_affected" and bound < version):
            inside = False
    return inside


def audit(lock: Path, options: argparse.Namespace) -> Found:
    """Ask the database where one is given, else one service after the other until every release was asked about."""
    if options.database is not None:
        return ask_database(pinned(lock), options.database)
    vulnerable: dict[str, list[str]] = {}
    not_asked, reasons = pinned(lock), []
    osv = ["--vulnerability-service", "osv", *(["--osv-url", options.osv_url] if options.osv_url else [])]
    services = {"OSV": osv} if options.osv_url else {"PyPI": ["--vulnerability-service", "pypi"], "OSV": osv}
    for name, service in services.items():
        found = ask_service(lock, service, options.seconds)
        vulnerable.update(found.vulnerable)
        not_asked &= found.not_asked
        reasons += [f"{name}: {found.why}"] if found.why else []
        if not not_asked:
            break
    return Found(vulnerable, not_asked, "; ".join(reasons))


def main() -> int:
    """Audit each lock and say what was asked and what was not."""
    parser = argparse.ArgumentParser(description="Known vulnerabilities in what the locks name.")
    parser.add_argument("locks", nargs="*", type=Path, default=[ROOT / name for name in LOCKS])
    parser.add_argument("--database", type=Path, help="OSV's export for PyPI (all.zip), where the network is closed")
    parser.add_argument("--osv-url", default="", help="a mirror of OSV's query service, in place of the public ones")
    parser.add_argument("--seconds", type=int, default=15, help="patience with a service")
    options = parser.parse_args()
    if options.database is not None and not options.database.is_file():
        parser.error(f"{options.database} is not there")
    code = 0
    for lock in options.locks:
        name = os.path.relpath(lock, ROOT)
        found, releases = audit(lock, options), pinned(lock)
        for release, ids in sorted(found.vulnerable.items()):
            print(f"{name}: {release} is vulnerable: {', '.join(sorted(set(ids)))}")
        asked = len(releases) - len(found.not_asked)
        print(f"{name}: {asked} of {len(releases)} releases asked about, {len(found.vulnerable)} vulnerable.")
        if found.not_asked:
            print(f"{name}: NOT AUDITED: {len(found.not_asked)} releases ({found.why}).")
            code = code or NOT_ASKED
        if found.vulnerable:
            code = VULNERABLE
    if code == NOT_ASKED:
        print("Nothing is claimed of what was not audited. Give OSV's export: make audit DATABASE=all.zip")
    return code


if __name__ == "__main__":
    sys.exit(main())
