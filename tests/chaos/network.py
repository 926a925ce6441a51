"""Toxiproxy between the processes and Kafka or Postgres: slow, thin, silent, cut off, slow to close, in pieces."""

from __future__ import annotations

import subprocess
import time
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx
import pytest
from sqlalchemy import make_url

from services.adapters.embedded import EmbeddedKafka, files
from services.adapters.embedded.kafka import BROKER, CONTROLLER
from services.adapters.embedded.ports import LOOPBACK, choose
from tests.chaos.back import Back, UnexpectedError
from tests.chaos.plan import Outcome
from tests.deploy.tools import go_tool

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.plan import Plan

FLIP_SECONDS: Final = 10.0
GROWTH_MEGABYTES: Final = 100.0
_RECOVER_SECONDS: Final = 120.0


class Toxic(NamedTuple):
    """One of toxiproxy's, in both directions. Through a ``mute`` one nothing comes, so /readyz must flip."""

    kind: str
    attributes: dict[str, int]
    mute: bool = False


TOXICS: Final = (
    Toxic("latency", {"latency": 400, "jitter": 200}),  # ms
    Toxic("timeout", {"timeout": 0}, mute=True),  # Nothing passes, and nothing is closed.
    Toxic("reset_peer", {"timeout": 0}, mute=True),
    Toxic("bandwidth", {"rate": 30}),  # KB/s of each connection, about half of what the sink reads.
    Toxic("slow_close", {"delay": 2000}),  # ms
    Toxic("slicer", {"average_size": 64, "size_variation": 32, "delay": 200}),  # Bytes, bytes, microseconds.
)
SHORT: Final = ("latency", "timeout", "reset_peer")
TARGETS: Final = ("kafka", "postgres")


class ProxiedKafka(EmbeddedKafka):
    """A broker with a second listener, at ``behind``, which tells its clients to come by ``advertised``."""

    def __init__(self, base_dir: Path, *, behind: int, advertised: int) -> None:
        super().__init__(base_dir)
        self._behind = behind
        self._advertised = advertised

    def prepare(self) -> list[str]:
        """Write the second listener behind the product's own settings: of two lines the last one holds."""
        command = super().prepare()
        settings = self.home / "server.properties"
        more = (
            f"listeners=PLAINTEXT://{LOOPBACK}:{self.ports[BROKER]},BEHIND://{LOOPBACK}:{self._behind},"
            f"CONTROLLER://{LOOPBACK}:{self.ports[CONTROLLER]}\n"
            f"advertised.listeners=PLAINTEXT://{LOOPBACK}:{self.ports[BROKER]},BEHIND://{LOOPBACK}:{self._advertised}\n"
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,BEHIND:PLAINTEXT\n"
        )
        files.write_whole(settings, settings.read_bytes() + more.encode())
        return command


class Toxiproxy:
    """The server, and its proxies by name."""

    def __init__(self, program: Path, log: Path) -> None:
        self._port = choose()
        with log.open("wb") as out:
            self._server = subprocess.Popen(
                [program, "-host", LOOPBACK, "-port", str(self._port)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self._api = httpx.Client(base_url=f"http://{LOOPBACK}:{self._port}", timeout=10)
        for _ in range(100):
            try:
                self._api.get("/version").raise_for_status()
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return
        self.close()
        raise UnexpectedError("toxiproxy does not start")

    def put_between(self, name: str, listen: int, upstream: int) -> None:
        """Open a proxy from one port to another."""
        wanted = {"name": name, "listen": f"{LOOPBACK}:{listen}", "upstream": f"{LOOPBACK}:{upstream}"}
        self._api.post("/proxies", json=wanted | {"enabled": True}).raise_for_status()

    def poison(self, name: str, toxic: Toxic) -> None:
        """Put a toxic on both directions of a proxy."""
        for stream in ("upstream", "downstream"):
            wanted = {"name": stream, "type": toxic.kind, "stream": stream, "attributes": toxic.attributes}
            self._api.post(f"/proxies/{name}/toxics", json=wanted).raise_for_status()

    def heal(self, name: str) -> None:
        """Take the toxics off a proxy."""
        for stream in ("upstream", "downstream"):
            self._api.delete(f"/proxies/{name}/toxics/{stream}").raise_for_status()

    def close(self) -> None:
        """End the server."""
        self._api.close()
        self._server.kill()
        self._server.wait(10)


def run(plan: Plan) -> Outcome:
    """Put each toxic on each connection, then judge; see ``Row``."""
    try:
        program = go_tool("toxiproxy")
    except pytest.skip.Exception as missing:
        return Outcome(0, None, None, passed=False, left_out=[str(missing)])
    plan.folder.mkdir(parents=True, exist_ok=True)
    taken: list[int] = []
    for _ in range(3):
        taken.append(choose(taken=taken))
    behind, kafka, database = taken
    dice = Random(plan.seed)  # noqa: S311 - a trial must be repeatable
    back = Back(plan.folder, dice, broker=ProxiedKafka(plan.folder / "broker", behind=behind, advertised=kafka))
    proxy = Toxiproxy(program, plan.folder / "toxiproxy.log")
    trials: list[dict[str, Any]] = []
    try:
        proxy.put_between("kafka", kafka, behind)
        proxy.put_between("postgres", database, back.postgres.port)
        by = make_url(back.postgres.url).set(port=database).render_as_string(hide_password=False)
        back.open(kafka=f"{LOOPBACK}:{kafka}", database=by)
        time.sleep(5)
        before = _memory(back)
        chosen = [(target, toxic) for target in TARGETS for toxic in TOXICS if not plan.short or toxic.kind in SHORT]
        dice.shuffle(chosen)
        for place, (target, toxic) in enumerate(chosen):
            trials.append(_trial(back, proxy, target, toxic, plan.choose(6.0, 8.0)))
            plan.say(f"  {place + 1}/{len(chosen)}: {trials[-1]}")
        after = _memory(back)
        assert back.traffic is not None
        under_traffic = back.traffic.going
        back.traffic.stop()
        drained = back.settle()
        plan.say(f"  drained {drained:.1f} s after the traffic; comparing")
        verdict = back.judge()
    except UnexpectedError as error:
        return Outcome(len(trials), None, None, passed=False, detail={"trials": trials, "told": str(error)})
    finally:
        back.close()
        proxy.close()
    late = [trial for trial in trials if trial.get("flip_seconds", 0.0) > FLIP_SECONDS]
    grown = {name: round(after[name] - before[name], 1) for name in before}
    detail = {
        "trials": trials,
        **verdict.told(),
        "late_to_flip": late,
        "drain_seconds": round(drained, 1),
        "grown_megabytes": grown,
        "ended_and_started_again": {name: process.ends for name, process in back.processes.items() if process.ends},
    }
    passed = verdict.exact and not late and under_traffic and max(grown.values()) < GROWTH_MEGABYTES
    return Outcome(len(trials), verdict.lost.total(), verdict.doubled.total(), passed, detail=detail)


def _trial(back: Back, proxy: Toxiproxy, target: str, toxic: Toxic, seconds: float) -> dict[str, Any]:
    told: dict[str, Any] = {"on": target, "toxic": toxic.kind}
    proxy.poison(target, toxic)
    if toxic.mute:
        told["flip_seconds"] = back.flip()
    time.sleep(seconds)
    proxy.heal(target)
    told["ready_again_seconds"] = round(back.wait(back.all_ready, _RECOVER_SECONDS, "every process is ready again"), 1)
    return told


def _memory(back: Back) -> dict[str, float]:
    return {name: process.megabytes() for name, process in back.processes.items()}
