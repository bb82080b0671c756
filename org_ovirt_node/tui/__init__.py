"""The add-on in Anaconda's text mode."""
