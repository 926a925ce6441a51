from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from services.adapters.embedded import EmbeddedKafka, EmbeddedPostgres, HalfWrittenError, ports, state
from services.adapters.embedded.server import EmbeddedError, EmbeddedServer
from services.errors import AlreadyRunningError

pytestmark = pytest.mark.enable_socket

LISTEN = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"


class Listener(EmbeddedServer):
    """The smallest server: it listens."""

    name: ClassVar[str] = "listener"
    port_names: ClassVar[tuple[str, ...]] = ("main", "other")
    program = LISTEN

    def prepare(self) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", self.program, str(self.port)]

    def ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True


class Failing(Listener):
    program = "print('the reason'); raise SystemExit(7)"


def test_a_server_starts_stops_and_comes_back_on_its_port(tmp_path: Path) -> None:
    with Listener(tmp_path) as server:
        port, pid = server.port, server.pid
        server.kill()
        assert not server.ready()
        server.start()
        assert (server.port, server.pid != pid) == (port, True)
    with Listener(tmp_path, preferred_port=ports.choose()) as later:
        assert later.port == port, "the last run's port comes before the preferred one"
    with pytest.raises(EmbeddedError, match="not started"):
        _ = later.pid


def test_a_second_server_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    with Listener(tmp_path) as server:
        with pytest.raises(AlreadyRunningError, match=f"pid {server.pid}"):
            Listener(tmp_path).start()
        assert server.ready()


def test_a_port_in_use_is_told_when_it_was_asked_for_and_left_when_it_was_not(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"Port {port} .* is taken"):
            Listener(tmp_path, port=port).start()
        with Listener(tmp_path, preferred_port=port) as server:
            assert server.port != port


def test_a_server_that_cannot_start_is_told_with_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="ended with code 7") as told:
        Failing(tmp_path).start()
    assert "the reason" in told.value.hint
    assert state.read_endpoints(tmp_path).services["listener"].process is None


@pytest.mark.parametrize("server", [EmbeddedKafka, EmbeddedPostgres])
def test_a_half_written_data_directory_is_refused(server: type[EmbeddedServer], tmp_path: Path) -> None:
    one = server(tmp_path)
    one.data.mkdir(parents=True)
    (one.data / "something").touch()
    with pytest.raises(HalfWrittenError, match="half-written") as told:
        one.prepare()
    assert "stillwatch reset" in told.value.hint


@pytest.mark.parametrize("server", [EmbeddedKafka, EmbeddedPostgres])
def test_data_of_another_version_is_refused(server: type[EmbeddedServer], tmp_path: Path) -> None:
    one = server(tmp_path)
    one.note_complete(version="3.9.0", major="12")
    with pytest.raises(EmbeddedError, match=r"was written by (Kafka 3\.9\.0|PostgreSQL 12)"):
        one.prepare()


def test_chosen_ports_are_free_distinct_and_not_of_the_outgoing_range() -> None:
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    chosen: list[int] = []
    for _ in range(20):
        chosen.append(ports.choose(taken=chosen))
    assert len(set(chosen)) == 20
    assert all(ports.is_free(port) and port < first_outgoing for port in chosen)


def test_a_reserved_port_is_left_alone_by_others_until_its_holder_ends() -> None:
    wanted = ports.choose()
    hold = f"from services.adapters.embedded import ports; print(ports.reserve({wanted}), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert int(holder.stdout.readline()) == wanted
        assert ports.is_free(wanted)
        other = ports.reserve(wanted)
        assert other not in {wanted, ports.reserve(taken=[other])}
        holder.communicate("\n", timeout=20)
    assert ports.reserve(wanted) == wanted == ports.reserve(wanted)
