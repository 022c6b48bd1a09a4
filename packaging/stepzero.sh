#!/bin/sh
# The command of the image: the tree is on PYTHONPATH there, not installed.
exec python -P -m stepzero.cli.main "$@"
