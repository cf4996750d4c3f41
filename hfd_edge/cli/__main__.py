"""`python -m hfd_edge.cli` is `hfd-edge`."""

import sys

from hfd_edge.cli import main

sys.exit(main())
