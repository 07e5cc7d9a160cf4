"""`python -m iqa.export`: write a model as a file for a runtime that needs no Keras; see `iqa.commands.export`."""

from iqa.commands.export import main
from iqa.commands.terminal import run

if __name__ == "__main__":
    run(main)
