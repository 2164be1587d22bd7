"""One rank of `test_memory_group.py`: `memory_worker.py RUN RENDEZVOUS RANK WORLD`.

The last rank has memory for two images at a time.
"""

import pickle
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from automl.jobs.trial import TrialRun, train_in_this_process
from automl.models.build import SegmentationNet
from automl.records import Verdict, canonical_json, to_json
from automl.training.ranks import global_rank


class FileReporter:
    """Rank 0 writes down what it is told, a line a message."""

    def __init__(self, path):
        self.path = path

    def report(self, config, message):
        if global_rank() == 0:
            with self.path.open("a") as lines:
                lines.write(canonical_json(to_json(message)) + "\n")
        return Verdict.CONTINUE


def limit_memory(images):
    honest = SegmentationNet.forward_with_features

    def forward(model, images_nchw):
        if len(images_nchw) > images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return honest(model, images_nchw)

    SegmentationNet.forward_with_features = forward


def main(run_file, rendezvous, rank, world):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{rendezvous}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=120),
    )
    if rank == world - 1:
        limit_memory(2)
    config, context, heard = pickle.loads(Path(run_file).read_bytes())
    train_in_this_process(TrialRun(config, context, FileReporter(heard), 0.0))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
