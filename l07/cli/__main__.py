"""`python -m l07.cli` is the `l07` command, for a checkout that is not installed."""

import sys

from l07.cli import main

sys.exit(main())
