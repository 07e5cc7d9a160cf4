"""A picture that each installation draws alike, from integers alone: with it a compiled network is compared with Keras."""

import numpy as np
from numpy.typing import NDArray


def draw_probe(size: int) -> NDArray[np.uint8]:
    """Waves that grow finer to the right and downwards, edges, and grain, in three different channels.

    uint8 (size, size, 3), the same on every machine.

    >>> int(draw_probe(224).astype(int).sum())
    19208776
    """
    down, right, channel = np.ogrid[:size, :size, :3]
    waves = (right * right * (channel + 2) + down * down * (4 - channel) + right * down) // (2 * size) % 256
    waves = np.minimum(waves, 255 - waves)  # 0-127, without the edge where they begin anew
    edges = 64 * ((right // 28 + down // 42 + channel) % 2)
    grain = (right * 7919 + down * 104_729 + channel * 1_299_709) % 8191 % 33
    return (waves + edges + grain + 16).astype(np.uint8)
