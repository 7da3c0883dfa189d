"""What the host asks a device for while it computes."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Questions(TorchDispatchMode):
    """Counts the operations for which the host would wait for a device."""

    NAMES = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.is_nonzero", "aten.equal")

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        masks = name.startswith("aten.index") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8)
            for index in (args[1] if isinstance(args[1], list | tuple) else ())
        )
        self.count += masks or name.startswith(self.NAMES)
        return func(*args, **(kwargs or {}))
