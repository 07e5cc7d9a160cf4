"""The networks, in Keras: backbones, heads, weight files, and the forms for other runtimes.

- `networks`: backbone and head, to score and to train; `backbones`, `heads`; `settings` of Keras they are built under.
- `weight_files`: `load_weights`, `save_with_card`; `torch_weights`: the weights of a `.pth`.
- `compiled`: NAME.tflite beside a weight file; `export`: files for other runtimes. Neither loads Keras when it is imported.
"""

from iqa.environment import settle_keras

settle_keras()
