"""``python -m retis_py``."""

import sys

from retis_py.cli.main import main

sys.exit(main())
