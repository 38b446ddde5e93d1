"""Audit the licences of a Python environment: identify and judge each distribution, and report them all."""
