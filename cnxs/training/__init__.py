"""Train a ControlNet-XS on a frozen base: `python -m cnxs.training --help`."""
