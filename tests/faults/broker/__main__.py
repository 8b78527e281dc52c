import argparse
import random
import sys

from .run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.broker")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    chosen = parser.parse_args()
    print(f"{chosen.seconds:.0f} s with seed {chosen.seed}", flush=True)
    report = run(chosen.seconds, chosen.seed)
    print(report, *report.problems, sep="\n")
    return 1 if report.problems else 0


sys.exit(main())
