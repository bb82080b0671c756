"""The add-on in Anaconda's graphical mode."""
