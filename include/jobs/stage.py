"""The one file that spark-submit is given: run a stage, as `stepzero stage` does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stepzero.cli.stage import main
from stepzero.launchers.lifetime import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(sys.argv[1:]))
