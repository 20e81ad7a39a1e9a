"""Speed beside the other libraries, measured side by side in one run. ``make bench``, ``make bench QUICK=1``."""
