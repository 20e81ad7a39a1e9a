"""What all tests share: hypothesis draws the same examples everywhere and watches no clock."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("chainrule", deadline=None, derandomize=True)
settings.load_profile("chainrule")
