"""A kickstart as data: our %addon section, the standard commands and the scripts; knows pykickstart only."""
