"""``python -m symkernel``."""

from symkernel.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
