"""`python -m ssept.cli`: the same as `ssept`."""

import sys

from ssept.cli import main

sys.exit(main())
