"""How DistributedDataParallel reduces a bucket of gradients here: by summing.

Annotations are evaluated in this module, because DistributedDataParallel checks those of a hook against the classes.
"""

from typing import Any

import torch
import torch.distributed as dist


def sum_hook(group: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Reduce a bucket by summing, where DistributedDataParallel would average."""
    work = dist.all_reduce(bucket.buffer(), group=group, async_op=True)
    assert work is not None
    return work.get_future().then(lambda future: future.value()[0])
