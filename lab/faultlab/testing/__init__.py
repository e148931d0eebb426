"""The lab in tests of a user: the pytest plugin and its fixtures."""
