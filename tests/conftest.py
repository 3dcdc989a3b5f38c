"""For all tests: in CI generated data are the same in every run, elsewhere others each time."""

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("repeatable")
