"""Outputs that must never change: the hashes of what this version writes."""
