"""``make bench-detectors``: our unsupervised ensemble, River's half-space trees and rcf3's online isolation forest.

Five labelled sets, in the order of their file and shuffled by five seeds; every row is scored before it is learned, and
labels are looked at after all scores are there. Area under the ROC curve, average precision, CPU for each row; the
ensemble's single views as its ablation. Prints tables; writes ``build/bench_detectors.json`` and a picture beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.metrics import average_precision_score, roc_auc_score

from detection.detectors.surprise import VIEWS, SurpriseEnsemble

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT: Final = Path(__file__).parents[3]
DATA: Final = Path(os.environ.get("STILLWATCH_SHARED_DATA", ROOT.parent / "shared" / "data")) / "anomaly"
SETS: Final = {
    "annthyroid": "2_annthyroid.npz",
    "mammography": "23_mammography.npz",
    "shuttle": "32_shuttle.npz",
    "smtp": "34_smtp.npz",
    "http": "16_http.npz",
}
PEERS: Final = {"river_half_space_trees": "river==0.26.1", "rcf3_online_iforest": "rcf3==0.5.2"}
OURS: Final = "stillwatch"
FILE: Final = "file"


def environment() -> Path:
    """Make the peers' environment once; give its Python."""
    home = ROOT / "build" / "peers" / "detectors"
    python = home / "bin" / "python"
    if not python.exists():
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "--quiet", str(home)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), "numpy", *PEERS.values()], check=True)
    return python


def ours(rows: Any, seed: int, views: Sequence[str]) -> tuple[Any, float]:
    """Score with the ensemble of these views; gives scores and CPU seconds."""
    began = time.process_time()
    names = tuple(range(rows.shape[1]))
    ensemble = SurpriseEnsemble(seed=seed, names=names, views=views)  # type: ignore[arg-type] - Names from the table.
    return ensemble.score_learn_many(rows), time.process_time() - began


def theirs(python: Path, peer: str, rows: Any, seed: int) -> tuple[Any, float]:
    """Score with a peer in its own process; gives scores and CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder) / "rows.npy", Path(folder) / "out.npz"
        np.save(table, rows)
        script = Path(__file__).with_name("peers.py")
        subprocess.run([str(python), str(script), peer, str(table), str(out), str(seed)], check=True)
        with np.load(out) as found:
            return found["scores"], float(found["cpu_seconds"])


def orders(seeds: int) -> Iterator[tuple[str, int]]:
    """Give the orders to run: the file's with each seed of the detectors, and a shuffle for each seed."""
    for seed in range(1, seeds + 1):
        yield FILE, seed
    for seed in range(1, seeds + 1):
        yield "shuffled", seed


def judged(labels: Any, scores: Any, cpu: float) -> dict[str, float]:
    """Measure one run."""
    return {
        "auc": round(float(roc_auc_score(labels, scores)), 4),
        "average_precision": round(float(average_precision_score(labels, scores)), 4),
        "cpu_us_per_row": round(cpu / len(labels) * 1e6, 2),
    }


def run(names: Sequence[str], seeds: int, *, ablation: bool, console: Console) -> list[dict[str, Any]]:
    """Run everything; gives one row of figures for each run."""
    python = environment()
    contenders = [OURS, *PEERS, *(f"only {view}" for view in VIEWS if ablation)]
    rows: list[dict[str, Any]] = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("scoring", total=len(names) * 2 * seeds * len(contenders))
        for name in names:
            with np.load(DATA / SETS[name]) as archive:
                matrix, labels = archive["X"].astype(np.float64), archive["y"].astype(int)
            for order, seed in orders(seeds):
                places = np.arange(len(matrix))
                if order != FILE:
                    places = np.random.default_rng(seed).permutation(len(matrix))
                for contender in contenders:
                    progress.update(task, description=f"{name}, {order} {seed}, {contender}")
                    if contender in PEERS:
                        scores, cpu = theirs(python, contender, matrix[places], seed)
                    else:
                        views = VIEWS if contender == OURS else (contender.removeprefix("only "),)
                        scores, cpu = ours(matrix[places], seed, views)
                    run_ = {"set": name, "order": order, "seed": seed, "detector": contender}
                    rows.append(run_ | judged(labels[places], scores, cpu))
                    progress.advance(task)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Give by order and detector the mean over sets, with the lowest and highest seed's mean."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for order in sorted({row["order"] for row in rows}):
        for detector in dict.fromkeys(row["detector"] for row in rows):
            mine = [row for row in rows if row["order"] == order and row["detector"] == detector]
            figures: dict[str, Any] = {}
            for figure in ("auc", "average_precision", "cpu_us_per_row"):
                by_seed = [
                    mean(row[figure] for row in mine if row["seed"] == seed) for seed in {row["seed"] for row in mine}
                ]
                figures[figure] = {
                    "mean": round(mean(by_seed), 4),
                    "lowest": round(min(by_seed), 4),
                    "highest": round(max(by_seed), 4),
                }
            figures["auc_by_set"] = {
                name: round(mean(row["auc"] for row in mine if row["set"] == name), 4)
                for name in dict.fromkeys(row["set"] for row in mine)
            }
            found.setdefault(order, {})[detector] = figures
    return found


def tell(found: dict[str, dict[str, dict[str, Any]]], console: Console) -> None:
    """Print a table for each order."""
    for order, detectors in found.items():
        sets = next(iter(detectors.values()))["auc_by_set"]
        table = Table("detector", *sets, "mean AUC (seeds)", "mean AP", "CPU us/row", title=f"{order} order", box=None)
        for detector, figures in detectors.items():
            auc = figures["auc"]
            table.add_row(
                detector,
                *(f"{value:.3f}" for value in figures["auc_by_set"].values()),
                f"{auc['mean']:.3f} ({auc['lowest']:.3f} - {auc['highest']:.3f})",
                f"{figures['average_precision']['mean']:.3f}",
                f"{figures['cpu_us_per_row']['mean']:.0f}",
            )
        console.print(table)


def draw(found: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    """Draw mean AUC by set, one panel for each order."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(found), figsize=(11, 4), sharey=True, squeeze=False)
    for panel, (order, detectors) in zip(panels[0], found.items(), strict=True):
        shown = {name: figures for name, figures in detectors.items() if not name.startswith("only ")}
        width = 0.8 / len(shown)
        for place, (name, figures) in enumerate(shown.items()):
            values = [*figures["auc_by_set"].values(), figures["auc"]["mean"]]
            panel.bar(np.arange(len(values)) + place * width, values, width, label=name.replace("_", " "))
        panel.set_xticks(np.arange(len(values)) + width, [*figures["auc_by_set"], "mean"], rotation=20)
        panel.set_title(f"{order} order")
        panel.axhline(0.5, color="grey", linewidth=0.5)
    panels[0][0].set_ylabel("area under the ROC curve")
    panels[0][0].legend(loc="lower left", fontsize=8)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Measure, tell, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS), help="[default: all five]")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--no-ablation", action="store_true", help="Leave the single views out.")
    parser.add_argument("--json", action="store_true", help="Print the summary as JSON instead of tables.")
    given = parser.parse_args()
    if not DATA.is_dir():
        sys.exit("the labelled sets are not beside the repository; set STILLWATCH_SHARED_DATA")
    console = Console(stderr=given.json)
    rows = run(given.sets, given.seeds, ablation=not given.no_ablation, console=Console(stderr=True))
    found = summary(rows)
    out = ROOT / "build" / "bench_detectors.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"summary": found, "runs": rows}, indent=1) + "\n", encoding="utf-8")
    draw(found, out.with_suffix(".svg"))
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
    tell(found, console)
    console.print(f"figures in {out.relative_to(ROOT)}, picture beside it")


if __name__ == "__main__":
    main()
