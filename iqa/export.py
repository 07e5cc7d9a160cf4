"""`python -m iqa.export`: write a model as a file for a runtime that needs no Keras; see `iqa.commands.export`."""

if __name__ == "__main__":  # before anything else is imported
    from iqa import forget_working_folder

    forget_working_folder()

from iqa.commands.export import main
from iqa.commands.terminal import run

if __name__ == "__main__":
    run(main)
