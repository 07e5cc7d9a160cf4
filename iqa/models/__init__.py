"""The networks, in Keras: backbones, heads, weight files, and the forms for other runtimes.

- `networks`: `network_of` (to score), `network_to_train`, `build_from_card`.
- `backbones`: `NETWORKS`, `build_backbone`, `make_flat`: from pixels 0-255 to pooled features.
- `heads`: `add_head`, `widen_head`: from pooled features to a histogram or a score.
- `weight_files`: `load_weights`, `save_with_card`.
- `torch_files`, `torch_weights`: `read_torch_tensors`, `load_tensors`: weights of a `.pth`, without torch.
- `hdf5`: `open_hdf5`, which admits nothing but stored numbers.
- `settings`: `standard_settings` of Keras.
- `export`: `export`, the network as a file for a runtime that needs no Keras; `metadata`: what the file says of itself.

Importing this package loads none of them; `export`, `metadata`, `hdf5` and `torch_files` load no Keras.
"""

from iqa.environment import settle_keras

settle_keras()
