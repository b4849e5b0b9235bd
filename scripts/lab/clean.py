"""scripts/lab/clean: removes labs whose owner is dead, and those left by --keep."""
import sys

from .topology import remove_stale

if __name__ == "__main__":
    gone = remove_stale(kept=True)
    print("removed: " + (", ".join(f"fs-{i}" for i in gone) or "nothing was there"))
    sys.exit(0)
