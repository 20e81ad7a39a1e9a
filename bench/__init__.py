"""Speed beside the other libraries, measured in one run: ``make bench``, ``make bench QUICK=1``."""
