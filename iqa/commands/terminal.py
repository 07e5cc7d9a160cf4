"""What the scripts share at the terminal: options, errors in one line, exit codes.

Exit codes: 0 all scored; 1 some images could not be scored, the rest were; 2 wrong usage, or nothing that was named
exists. Results go to stdout, progress and complaints to stderr.
"""

import argparse
import io
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from iqa.cards import card_of
from iqa.environment import temporary_file
from iqa.errors import CardError, IqaError
from iqa.files import check_target, printable

_Loaded = TypeVar("_Loaded")

#: What only training and the runtime "keras" need, and a plain installation does not bring.
TRAINING = ("tensorflow", "keras", "h5py")


class Parser(argparse.ArgumentParser):
    """Shows the script's docstring as it was written, and an error as one line without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{printable(f'{self.prog}: error: {message}')}\n")


def parser_of(description: str | None) -> Parser:
    """The argument parser of a script; `description` is its docstring."""
    return Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add the option without which `iqa.files.check_target` and `claim_folder` protect what is there."""
    parser.add_argument("--overwrite", action="store_true", help="write over whatever is there")


def check_weights_target(path: Path, overwrite: bool, inputs: Iterable[str | os.PathLike[str]] = ()) -> None:
    """As `iqa.files.check_target`, of weights and the card beside them; the folder is made.

    Raises:
        OutputError: if one of them may not or cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for file in (path, card_of(path)):
        check_target(file, overwrite, inputs=inputs)


def run(main: Callable[[], Any]) -> Any:
    """Call `main` and exit with the code that it returns. If it returns anything else, return that.

    An `IqaError`, an error of the file system and a package that training needs become one line and exit code 2. Any other
    error is a bug and is not caught, so that Python shows its traceback.

    `python3 -i` turns every `sys.exit` into a traceback and a prompt. Nobody wants these after a mistyped option, so
    the process ends there; after a success the prompt opens as usual.
    """
    prepare_streams()
    try:
        result = main()
        sys.stdout.flush()
        if not isinstance(result, int):
            return result
        code = result
    except SystemExit as stop:
        code = stop.code  # type: ignore[assignment]
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # the reader of our rows, `head` perhaps, has seen enough
        _give_up_stdout()
        code = 0
    except (IqaError, OSError) as error:
        print(printable(f"{Path(sys.argv[0]).name}: error: {error}"), file=sys.stderr)
        code = 2
    except ModuleNotFoundError as error:
        if error.name not in TRAINING:
            raise
        what = f"{error.name} is not installed: pip install 'image-quality-assessment[train]'"
        print(f"{Path(sys.argv[0]).name}: error: {what}", file=sys.stderr)
        code = 2
    try:
        sys.stdout.flush()
    except OSError as error:
        _give_up_stdout()
        if not isinstance(error, BrokenPipeError):
            print(printable(f"{Path(sys.argv[0]).name}: error: {error}"), file=sys.stderr)
            code = 2
    sys.stderr.flush()
    if not sys.flags.interactive:
        sys.exit(code)
    if code:
        os._exit(code if isinstance(code, int) else 1)
    return None


def prepare_streams() -> None:
    """Make sure that no name and no reader of what is printed can end a run.

    What the terminal's encoding lacks is shown escaped. A stream that is closed leads nowhere, and its number is taken, so
    that no file which is opened later gets it. Nobody needs to read the messages on stderr.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115, as long as the process
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        encoding = getattr(sys.stderr, "encoding", "utf-8")
        careless = io.BufferedWriter(_Careless(2, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(careless, encoding, "backslashreplace", line_buffering=True)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


class _Careless(io.FileIO):
    """A file that may refuse what is written to it."""

    def write(self, data: Any) -> int:
        with suppress(OSError):
            return super().write(data)
        return len(data)


def _give_up_stdout() -> None:
    """Let stdout lead nowhere, so that what is left in it is no error at the end of the process."""
    with suppress(OSError, ValueError):  # ValueError: no file of the system
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def quiet_start() -> Iterator[None]:
    """Keep TensorFlow's greetings off stderr, where our own messages go.

    TF_CPP_MIN_LOG_LEVEL no longer silences them (tensorflow/tensorflow#100442). If the block fails with an error that is
    not one of ours, they are shown after all.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with temporary_file() as greetings:
        os.dup2(greetings.fileno(), 2)
        try:
            yield
        except (IqaError, OSError):
            raise
        except BaseException:
            greetings.seek(0)
            os.write(kept, greetings.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def natural(text: str) -> int:
    """An integer of 0 or more, for `argparse`."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def positive(text: str) -> int:
    """An integer of 1 or more, for `argparse`."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def share(text: str) -> float:
    """A number above 0, at most 1, for `argparse`."""
    number = float(text)
    if not 0 < number <= 1:
        raise ValueError
    return number


def seconds(text: str) -> float:
    """A number of seconds above 0, for `argparse`."""
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError
    return number


def load_quietly(load: Callable[[], _Loaded], hint: str = "") -> _Loaded:
    """Call `load` without TensorFlow's greetings; `hint` says where to get weights that are missing.

    Raises:
        CardError: as `load`.
    """
    try:
        with quiet_start(), warnings.catch_warnings(record=True) as noted:
            loaded = load()
        for warning in noted:
            print(printable(str(warning.message)), file=sys.stderr)
        return loaded
    except CardError as error:
        raise CardError(f"{error}; {hint}" if hint and "no such file" in str(error) else str(error)) from None
