"""Typed records out of what distributions say of themselves, judged, done better, and settled by people."""
