"""`python -m bench` runs every program in this folder; `python -m bench http` runs one."""

import importlib
import os
import sys
from pathlib import Path

from bench.harness import peers, results

FOLDER = Path(__file__).resolve().parent


def main(names: list[str]) -> int:
    """The exit status: 0 when every figure that has a bar reached it."""
    programs = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
    unknown = set(names) - set(programs)
    if unknown:
        sys.exit(f"There is no bench/{unknown.pop()}.py. There are: {', '.join(programs)}.")
    missed = 0
    for name in names or programs:
        rows = importlib.import_module(f"bench.{name}").run()
        results.show(name, rows)
        results.write(name, rows)
        missed += sum(not row.met for row in rows)
    return 1 if missed else 0


if __name__ == "__main__":
    if not peers.inside():
        python = peers.install()
        os.execv(python, [str(python), "-m", "bench", *sys.argv[1:]])
    sys.exit(main(sys.argv[1:]))
