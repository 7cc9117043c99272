"""Check the hashes of outputs and reports, or write them: python -m tests.golden [--write]

Needs no torch but for `--rng torch`, whose case is left out where it is missing. A hash that
changes is data of users that changes: write hashes only for cases that are new.
"""

import sys

from tests.golden import cases


def main() -> int:
    """Print what differs."""
    found = cases.run_all()
    if "--write" in sys.argv:
        cases.HASHES.write_text("".join(f"{digest}  {name}\n" for name, digest in found.items()))
        print(f"wrote {len(found)} hashes")
        return 0
    known = cases.known()
    different = sorted(name for name in found if found[name] != known.get(name))
    lost = sorted(name for name in known.keys() - found.keys() if not cases.needs_torch(name))
    for name in different:
        print(f"different: {name}")
    for name in lost:
        print(f"not written: {name}")
    print(f"{len(found) - len(different)} of {len(found)} are the same")
    return int(bool(different or lost))


if __name__ == "__main__":
    sys.exit(main())
