"""`python -m rung` is `rung`."""

import sys

from rung.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
