"""What the scripts share at the terminal: options, errors in one line on stderr, exit codes.

0: all scored; 1: some images could not be scored; 2: wrong usage, or nothing that was named exists.
"""

import argparse
import io
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from iqa.environment import without_greetings
from iqa.errors import CardError, IqaError
from iqa.files import printable

_Loaded = TypeVar("_Loaded")


class Parser(argparse.ArgumentParser):
    """Shows the script's docstring as it was written, and an error as one line without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{printable(f'{self.prog}: error: {message}')}\n")


def parser_of(description: str | None) -> Parser:
    """The argument parser of a script; `description` is its docstring."""
    return Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add the option without which `iqa.files.check_target` and `claim_folder` protect what is there."""
    parser.add_argument("--overwrite", action="store_true", help="overwrite any existing output file")


def run(main: Callable[[], Any]) -> Any:
    """Call `main` and exit with the code that it returns. If it returns anything else, return that.

    An `IqaError`, an error of the file system and a package that training needs become one line and exit code 2. Any other
    error is a bug, of which Python shows the traceback. Under `python3 -i` the prompt opens after a success alone.
    """
    prepare_streams()
    for name in () if sys.flags.interactive else ("SIGTERM", "SIGHUP"):  # a kill, a closed terminal: nothing stays behind
        if (number := getattr(signal, name, None)) and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
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
        code = _complain(error)
    except ModuleNotFoundError as error:
        if error.name not in ("tensorflow", "keras", "h5py"):  # which a plain installation does not bring
            raise
        code = _complain(f"{error.name} is not installed: pip install tensorflow keras h5py grain")
    try:
        sys.stdout.flush()
    except OSError as error:
        _give_up_stdout()
        if not isinstance(error, BrokenPipeError):
            code = _complain(error)
    sys.stderr.flush()
    if not sys.flags.interactive:
        sys.exit(code)
    if code:
        os._exit(code if isinstance(code, int) else 1)
    return None


def _complain(error: object) -> int:
    print(printable(f"{Path(sys.argv[0]).name}: error: {error}"), file=sys.stderr)
    return 2


def prepare_streams() -> None:
    """Make sure that no name and no reader of what is printed can end a run, whatever the encoding or closed streams."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which no file opened later may get
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


class _Careless(io.FileIO):  # it may refuse what is written to it: nobody needs to read messages
    def write(self, data: Any) -> int:
        with suppress(OSError):
            return super().write(data)
        return len(data)


def _give_up_stdout() -> None:  # so that what is left in it is no error at the end of the process
    with suppress(OSError, ValueError):  # ValueError: no file of the system
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _number(kind: Callable[[str], Any], fits: Callable[[Any], bool], name: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        number = kind(text)
        if not fits(number):
            raise ValueError
        return number

    read.__name__ = name
    return read


natural = _number(int, lambda number: number >= 0, "natural")  # 0 or more
positive = _number(int, lambda number: number >= 1, "positive")  # 1 or more
share = _number(float, lambda number: 0 < number <= 1, "share")  # above 0, at most 1
seconds = _number(float, lambda number: 0 < number < math.inf, "seconds")  # above 0


def load_quietly(load: Callable[[], _Loaded], hint: str = "") -> _Loaded:
    """Call `load` without TensorFlow's greetings; `hint` says where to get weights that are missing."""
    try:
        with without_greetings(), warnings.catch_warnings(record=True) as noted:
            loaded = load()
        for warning in noted:
            print(printable(str(warning.message)), file=sys.stderr)
        return loaded
    except CardError as error:
        raise CardError(f"{error}; {hint}" if hint and "no such file" in str(error) else str(error)) from None
