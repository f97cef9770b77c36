"""One thread a test process: small tensors gain nothing from more, and two processes share."""

import torch

torch.set_num_threads(1)
