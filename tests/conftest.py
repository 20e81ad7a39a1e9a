"""What all tests share: hypothesis draws the same examples everywhere, without a clock; Ctrl-C is heard."""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("chainrule", deadline=None, derandomize=True)
settings.load_profile("chainrule")

# A shell that starts tests in the background lets them ignore Ctrl-C, and every process that they start, too:
# those that press it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
