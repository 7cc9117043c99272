"""Check or write the hashes of outputs and reports: python -m tests.golden [--write]

Needs torch only for `--rng torch`, whose case is skipped without torch. A hash that
changes means that users' data changes: write hashes only for new cases.
"""

import sys

from tests.golden import cases


def main() -> int:
    """Print the differences."""
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
