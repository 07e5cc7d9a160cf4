"""The command lines: `iqa`, `export`, and what the infer, train, plot and test scripts share."""
