"""Fuzzing with thousands or millions of damaged files.

    python -m tests.fuzz --cases 1000000 --seed 1

Cases are numbered, and a number and a seed make a case: first every byte of every sample flipped,
every length and a few extensions, then mutations that know the structure of what they mutate.
"""
