"""What the server of processes imports once for all programs."""

import torchmetrics  # noqa: F401
from sklearn.datasets import load_digits  # noqa: F401
from transformers import BertForSequenceClassification, GPT2LMHeadModel, ResNetForImageClassification  # noqa: F401
