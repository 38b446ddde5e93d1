"""Audit the licences of a Python environment: read, identify, judge, and report each installed distribution."""
