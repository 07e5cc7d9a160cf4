"""The errors of this project: `iqa.commands.terminal.run` turns an `IqaError` into one line and exit code 2."""


class IqaError(Exception):
    """Something that this project refuses; the message is one line that names the thing, the reason and the remedy."""


class UsageError(IqaError, ValueError):
    """Options or arguments that do not go together."""


class ImageError(IqaError, ValueError):
    """An image that cannot be scored; the message is one line without the file's name."""


class LabelError(IqaError, ValueError):
    """A label file that cannot be read; the message names the file, the line and the reason."""


class CardError(IqaError, ValueError):
    """Weights that must not be used: they have no card, it is broken, or it describes another file."""


class WeightsError(IqaError, ValueError):
    """A weight file that cannot be read, or that belongs to another network."""


class PredictionsError(IqaError, ValueError):
    """A file of predictions that cannot be read, or that lacks something that is needed."""


class RuntimeUnavailable(IqaError, ValueError):
    """A runtime that was asked for and cannot be used here; the message says why."""


class ExportError(IqaError, ValueError):
    """A model that cannot be written in the format asked for; the message says what is missing."""


class OutputError(IqaError, ValueError):
    """A file of results that cannot be written; the message says what would work."""


class RunError(IqaError, ValueError):
    """A training run that cannot begin or go on; the message names the folder and the reason."""


class JournalError(IqaError, OSError):
    """A journal that cannot be written, or that another run is writing; the message names it."""


class WorkerError(IqaError, OSError):
    """Worker processes that cannot be started; the message says what the last of them complained of."""
