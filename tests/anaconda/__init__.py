"""Tests of the add-on against Anaconda's own code.

The ``test_*.py`` here run where pyanaconda can be imported: in a root tree in which Anaconda is installed, see
``python -m tests.anaconda --help``.  Without pyanaconda each says in one line that it was skipped.
"""
