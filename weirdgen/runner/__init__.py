"""Everything that knows Ray. Runs report events through the logger `weirdgen.run` and its children."""

import logging

_package_log = logging.getLogger("weirdgen")
if _package_log.level == logging.NOTSET:
    _package_log.setLevel(logging.INFO)  # started and done steps are what a run reports
