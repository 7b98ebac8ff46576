"""Networks are built one at a time, whichever thread asks for one.

While diffusers or transformers build a network empty, to fill it from its file, they replace methods of
`torch.nn.Module` for the whole process: what another thread builds meanwhile has no memory behind its weights.
"""

import threading

BUILDING = threading.RLock()
