"""The networks, in Keras: backbones, heads, weight files, and their compiled and exported forms."""

from iqa.environment import settle_keras

settle_keras()
