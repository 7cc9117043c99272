"""Bytes on disk: read anywhere, published whole or not at all."""
