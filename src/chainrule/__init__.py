"""chainrule: trains deep networks by back-propagation. Fast, clear, practical."""

__version__ = "0.1.0"
