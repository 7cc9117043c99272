"""`python -m dropcli`."""

import sys

from dropcli.cli import main

sys.exit(main())
