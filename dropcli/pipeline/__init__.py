"""One file in, one file out, in constant memory."""
