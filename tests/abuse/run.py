"""`make abuse`: each attack, and the table of what it has led to.

`python -m tests.abuse.run [NAME …]` runs all attacks or these; with `--write` their rows go to RESULTS.md.
The exit code is 1 if a goal was missed.
"""

import argparse
import sys

from tests.abuse.attacks import ATTACKS
from tests.abuse.measure import measure
from tests.abuse.table import HEAD, misses, row, write


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.abuse.run", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(ATTACKS)}")
    parser.add_argument("--write", action="store_true", help="put the rows into RESULTS.md")
    options = parser.parse_args()
    if unknown := set(options.names) - set(ATTACKS):
        parser.error(f"no such attack: {', '.join(sorted(unknown))}")

    print("\n".join(HEAD), flush=True)
    titles = [attack.title for attack in ATTACKS.values()]
    rows, missed = [], 0
    for name in options.names or ATTACKS:
        outcome = measure(ATTACKS[name])
        rows.append(row(outcome))
        missed += bool(misses(outcome))
        print(rows[-1], flush=True)
        if options.write:
            write(rows, titles)
    print(f"{len(rows) - missed} of {len(rows)} attacks met every goal.")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
