"""A card -> a Keras network -> a compiled file.

- `networks`: `network_of` to score, `network_to_train`. `backbones`: `NETWORKS`. `heads`: `add_head`.
- `weight_files`: `load_weights`, `save_with_card`. `torch_weights`: the weights of a `.pth`. `settings`: of Keras.
- `compiled`: `compile_weights`, NAME.tflite beside a weight file. `export`: files for other programs.

Importing this package loads none of them; `compiled` and `export` load no Keras.
"""

from iqa.environment import settle_keras

settle_keras()
