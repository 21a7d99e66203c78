"""Settings of all tests."""

from hypothesis import settings

# A loaded machine is slow, not wrong; and a failure must come again when it is looked at.
settings.register_profile("strandline", deadline=None, derandomize=True)
settings.load_profile("strandline")
