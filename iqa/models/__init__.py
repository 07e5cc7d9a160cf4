"""The networks, in Keras: backbones, heads, weight files, and the forms for other runtimes.

- `networks`: `network_of` (to score), `network_to_train`, `build_from_card`.
- `backbones`: `NETWORKS`, `build_backbone`, `make_flat`: from pixels 0-255 to pooled features.
- `heads`: `add_head`: from pooled features to a histogram or a score.
- `weight_files`: `load_weights`, `save_with_card`; `torch_weights`: the weights of a `.pth`.
- `settings`: `standard_settings` of Keras.
- `compiled`: `compile_weights`: NAME.tflite beside a weight file; `export`: any file for a runtime without Keras.

Importing this package loads none of them; `compiled` and `export` load no Keras.
"""

from iqa.environment import settle_keras

settle_keras()
