"""What the server of processes imports once for the programs of all libraries."""

import lightning.pytorch  # noqa: F401
import torch._dynamo  # noqa: F401
import transformers
from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: F401
from sklearn.datasets import load_digits  # noqa: F401

transformers.Trainer  # noqa: B018 - it is imported where it is first named
