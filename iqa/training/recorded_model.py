"""A Keras model whose `compile`, `fit` and `evaluate` at the prompt are recorded by the training session."""

from typing import Any, Protocol

import keras


class Recording(Protocol):
    """A session, as a `RecordedModel` calls it."""

    def compile_by_hand(self, *args: Any, **kwargs: Any) -> None: ...

    def fit_by_hand(self, *args: Any, **kwargs: Any) -> Any: ...

    def evaluate_by_hand(self, *args: Any, **kwargs: Any) -> Any: ...


@keras.saving.register_keras_serializable("iqa")
class RecordedModel(keras.Model):
    """A functional model (`RecordedModel(inputs, outputs)`) whose calls go to `recorded_by`, if it is set.

    The session itself calls the methods of `keras.Model`.
    """

    recorded_by: Recording | None = None

    def compile(self, *args: Any, **kwargs: Any) -> None:
        if self.recorded_by:
            self.recorded_by.compile_by_hand(*args, **kwargs)
        else:
            super().compile(*args, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile a model that was loaded; Keras does not where `compile` is overridden."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        if self.recorded_by:
            return self.recorded_by.fit_by_hand(*args, **kwargs)
        return super().fit(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        within_fit = isinstance(kwargs.get("callbacks"), keras.callbacks.CallbackList)
        if self.recorded_by and not within_fit:
            return self.recorded_by.evaluate_by_hand(*args, **kwargs)
        return super().evaluate(*args, **kwargs)
