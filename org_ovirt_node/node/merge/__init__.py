"""The three-way merge of /etc at an upgrade: the old image's, the node's and the new image's become the new layer's.

``tree`` reads a side, ``plan`` decides (pure), ``describe`` shows the plan, ``execute`` carries it out.
"""
