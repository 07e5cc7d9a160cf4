"""In the place of a compiled network, where scores do not matter: for faults.py and storm.py of benchmarks/."""

import numpy as np


class StandIn:
    """Gives a histogram of votes around a twenty-fifth of a picture's mean grey."""

    name, description, packages = "litert", "stand-in", ()

    def __call__(self, patches):
        means = patches[:, ::8, ::8].mean(axis=(1, 2, 3), dtype=np.float64)[:, None]
        shares = np.exp(-((np.arange(1, 11) - means / 25) ** 2)).astype(np.float32)
        return shares / shares.sum(axis=1, keepdims=True), np.zeros((len(patches), 1), np.float32)


def stand_in(module):
    """Let a module of ours open stand-ins instead of networks."""
    module.open_network = lambda *_, **__: StandIn()
