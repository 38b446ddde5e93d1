"""Stores that come with Treadle."""
