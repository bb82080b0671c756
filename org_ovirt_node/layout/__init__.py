"""Pure planning of what goes where on the disks: facts and policy in, a :class:`~.model.Layout` out."""
