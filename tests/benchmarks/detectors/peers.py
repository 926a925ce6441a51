"""The peers' side of the comparison, in their own environment: prequential scores of one table, and the CPU they took.

    python peers.py PEER TABLE.npy OUT.npz SEED

Every row is scored before it is learned, with each library's defaults. River's trees want features in 0..1 and get its
own scaler in front, as its documentation shows.
"""

from __future__ import annotations

import sys
import time

import numpy as np


def rcf3_online_iforest(rows: np.ndarray, seed: int) -> np.ndarray:
    """Run rcf3's OnlineIForest."""
    from rcf3 import OnlineIForest

    detector = OnlineIForest(rows.shape[1], seed=seed)
    scores = np.empty(len(rows))
    for place, row in enumerate(rows):
        scores[place] = detector.score(row)
        detector.update(row)
    return scores


def river_half_space_trees(rows: np.ndarray, seed: int) -> np.ndarray:
    """Run River's MinMaxScaler and HalfSpaceTrees."""
    from river import anomaly, preprocessing

    scaler = preprocessing.MinMaxScaler()
    trees = anomaly.HalfSpaceTrees(seed=seed)
    scores = np.empty(len(rows))
    for place, row in enumerate(rows.tolist()):
        x = dict(enumerate(row))
        scaler.learn_one(x)
        scaled = scaler.transform_one(x)
        scores[place] = trees.score_one(scaled)
        trees.learn_one(scaled)
    return scores


PEERS = {"rcf3_online_iforest": rcf3_online_iforest, "river_half_space_trees": river_half_space_trees}

if __name__ == "__main__":
    peer, table, out, seed = sys.argv[1:]
    matrix = np.load(table)
    began = time.process_time()
    found = PEERS[peer](matrix, int(seed))
    np.savez(out, scores=found, cpu_seconds=time.process_time() - began)
