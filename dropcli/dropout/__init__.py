"""The settings, and what they make of elements."""
