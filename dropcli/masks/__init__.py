"""Which elements drop: a pure function of the seed and of names."""
