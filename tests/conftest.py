"""For all tests: one torch thread each, since the tests themselves run on every core."""

import torch

torch.set_num_threads(1)
