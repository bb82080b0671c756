"""Power cuts: an operation is recorded once in a machine, and the disk judged as each cut would have left it."""
