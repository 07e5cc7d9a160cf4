"""What the scripts share at the terminal: options, errors in one line, exit codes.

Exit codes: 0 all scored; 1 some images could not be scored, the rest were; 2 wrong usage, or nothing that was named
exists. Results go to stdout, progress and complaints to stderr.
"""

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from iqa.errors import CardError, IqaError

_Loaded = TypeVar("_Loaded")


class Parser(argparse.ArgumentParser):
    """Shows the script's docstring as it was written, and an error as one line without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def parser_of(description: str | None) -> Parser:
    """The argument parser of a script; `description` is its docstring."""
    return Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def run(main: Callable[[], Any]) -> Any:
    """Call `main` and exit with the code that it returns. If it returns anything else, return that.

    An `IqaError` and an error of the file system become one line and exit code 2. Any other error is a bug and is
    not caught, so that Python shows its traceback.

    `python3 -i` turns every `sys.exit` into a traceback and a prompt. Nobody wants these after a mistyped option, so
    the process ends there; after a success the prompt opens as usual.
    """
    try:
        result = main()
        if not isinstance(result, int):
            return result
        code = result
    except SystemExit as stop:
        code = stop.code  # type: ignore[assignment]
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # the reader of our rows, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (IqaError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        code = 2
    sys.stdout.flush()
    sys.stderr.flush()
    if not sys.flags.interactive:
        sys.exit(code)
    if code:
        os._exit(code if isinstance(code, int) else 1)
    return None


@contextmanager
def quiet_start() -> Iterator[None]:
    """Keep TensorFlow's greetings off stderr, where our own messages go.

    TF_CPP_MIN_LOG_LEVEL no longer silences them (tensorflow/tensorflow#100442). If the block fails with an error that is
    not one of ours, they are shown after all.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as greetings:
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


def load_quietly(load: Callable[[], _Loaded], hint: str = "") -> _Loaded:
    """Call `load` without TensorFlow's greetings; `hint` says where to get weights that are missing.

    Raises:
        CardError: as `load`.
    """
    try:
        with quiet_start(), warnings.catch_warnings(record=True) as noted:
            loaded = load()
        for warning in noted:
            print(warning.message, file=sys.stderr)
        return loaded
    except CardError as error:
        raise CardError(f"{error}; {hint}" if hint and "no such file" in str(error) else str(error)) from None
