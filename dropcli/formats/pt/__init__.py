""".pt files, read without being run."""
