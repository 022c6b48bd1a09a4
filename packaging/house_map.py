"""Write the map in CONTRIBUTING.md anew, from the first line of every module: python packaging/house_map.py."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- map:begin -->\n", "<!-- map:end -->\n"
HOUSES = {"include/stepzero": "core spec adapters measures launchers generators learning stages execution serving cli"}
PLUGIN = "plugins/stepzero_airflow"


def main() -> None:
    """Replace what stands between the marks."""
    file = ROOT / "CONTRIBUTING.md"
    before, _, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    file.write_text(f"{before}{BEGIN}{house_map()}{END}{after}", encoding="utf-8")


def house_map() -> str:
    """Return one table per folder: module and what it is for."""
    folders = [ROOT / house / name for house, names in HOUSES.items() for name in names.split()]
    return "\n".join(_table(folder) for folder in [*folders, ROOT / PLUGIN] if folder.is_dir())


def _table(folder: Path) -> str:
    lines = [f"**{folder.relative_to(ROOT).as_posix()}**", "", "| module | for |", "|---|---|"]
    for path in sorted(folder.rglob("*.py")):
        purpose = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]
        if path.name != "__init__.py" and purpose:
            text = " ".join(purpose.split()).replace("|", "\\|")
            lines.append(f"| `{path.relative_to(folder.parent).as_posix()}` | {text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
