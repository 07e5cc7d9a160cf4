"""The settings of Keras under which networks are built, whatever `keras.json` or the program says."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def standard_settings() -> Iterator[None]:
    """Channels last and 32 bits, or the 16 bits of a mixed precision; afterwards all is as before. Also a decorator."""
    layout, kind, policy = keras.config.image_data_format(), keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    if not policy.name.startswith("mixed_"):
        keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_image_data_format(layout)
        keras.config.set_floatx(kind)
        keras.config.set_dtype_policy(policy)


class SettledModel(keras.Model):
    """A network that is called under these settings too: some layers ask for them only then."""

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        with standard_settings():
            return super().__call__(*inputs, **options)


def settle() -> None:
    """As `standard_settings`, for a process of our own and to its end."""
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_dtype_policy("float32")
