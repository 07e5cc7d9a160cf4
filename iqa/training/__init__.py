"""From a schedule to trained weights; everything here loads Keras but `run_folder` and `usable`."""

from iqa.environment import settle_keras

settle_keras()
