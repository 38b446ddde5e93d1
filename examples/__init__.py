"""Pipelines that do a real job."""
