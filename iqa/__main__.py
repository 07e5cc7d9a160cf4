"""`python -m iqa`, and the installed command `iqa`; see `iqa.commands.iqa`."""

if __name__ == "__main__":  # before anything else is imported
    from iqa import forget_working_folder

    forget_working_folder()

import sys

from iqa.commands.iqa import main
from iqa.commands.terminal import run


def start() -> None:
    """Run the command and end the process with its exit code."""
    sys.argv[0] = "iqa"  # what messages call it
    run(main)


if __name__ == "__main__":
    start()
