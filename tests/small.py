"""The sizes of runs whose course matters to a test, and not what they learn."""

SMALL = (
    "loop.candidates=16",
    "loop.entries=8",
    "loop.updates=1",
    "loop.passes=1",
    "loop.rows=16",
    "heldout.every=0",
)
