"""One rank of `test_ddp.py`: `ddp_worker.py DATASET OUT RANK WORLD`.

It runs every scenario and writes what each gave to `OUT/rank-<RANK>-of-<WORLD>.json`.
"""

import json
import math
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from conftest import Recorder, StagedNet, TinyNet
from timm.layers import BatchNormAct2d
from torch import nn

from automl import fidelity
from automl.compression.distill import DistillationLoss, DistillationSettings
from automl.data.dataset import open_dataset
from automl.errors import TrialError
from automl.fidelity import Fidelity, Stretch
from automl.jobs.applied_norms import norm_faults
from automl.jobs.speed import read_choice, with_fastest
from automl.records import Verdict, to_json
from automl.training.deep_supervision import DeepSupervision
from automl.training.evaluation import evaluate
from automl.training.loop import fit, prepared
from automl.training.losses import CombinedLoss, LossOptions
from automl.training.recipe import Recipe
from automl.training.settings import EvaluationSettings, FitSettings
from automl.training.steps import SupervisedLoss
from automl.training.synchronised import synchronised
from automl.training.tuning import Wanted

BY_SGD = {"optimizer": "sgd", "learning_rate": 0.05}


class Rank:
    def __init__(self, root, out, rank, world):
        self.dataset = open_dataset(Path(root))
        self.out = Path(out)
        self.rank = rank
        self.world = world

    def fit(self, *, net=None, loss=None, reporter=None, folder=None, **changes):
        values = {
            "epochs": 3,
            "normalisation": self.dataset.info.normalisation,
            "batch_size": 4,
            "learning_rate": 1e-2,
            "augmentation": "none",
            "device": "cpu",
        }
        # Ranks start from different weights: DDP hands rank 0's to all.
        net = TinyNet(seed=self.rank) if net is None else net
        reporter = Recorder() if reporter is None else reporter
        combined = CombinedLoss(0.5, 2.0, torch.tensor([0.5, 2.0, 1.0]))
        result = fit(
            net,
            self.dataset,
            FitSettings(**{**values, **changes}),
            step_loss=SupervisedLoss(combined) if loss is None else loss,
            reporter=reporter,
            checkpoint_folder=None if folder is None else self.out / f"{folder}-{self.world}",
        )
        return {
            "losses": result.losses,
            "metrics": dict(result.metrics),
            "epochs": result.epochs,
            "stopped": result.stopped,
            "heard": reporter.heard,
            "weights": {name: value.flatten().tolist() for name, value in net.state_dict().items()},
        }

    def combined(self):
        return self.fit()

    def all_options(self):
        """Batches of three: the ranks have different numbers of pixels."""
        options = LossOptions(
            region_loss="lovasz", label_smoothing=0.1, ohem_share=0.5, boundary_weight=3.0
        )
        loss = CombinedLoss(0.5, 2.0, torch.tensor([0.5, 2.0, 1.0]), options)
        return self.fit(loss=SupervisedLoss(loss), batch_size=3)

    def generalised_dice_oversampled(self):
        loss = CombinedLoss(0.5, 2.0, None, LossOptions(region_loss="generalised_dice"))
        return self.fit(
            loss=SupervisedLoss(loss), batch_size=3, augmentation="light", oversample="effective"
        )

    def all_mixes(self):
        """Batches of three, whose pixels weigh differently by each of mixup's two masks."""
        mixes = {"mixup": 0.7, "copy_paste": 0.5, "classmix": 0.5, "cutmix": 0.5}
        loss = CombinedLoss(0.5, 2.0, torch.tensor([0.5, 2.0, 1.0]))
        return self.fit(loss=SupervisedLoss(loss), batch_size=3, **mixes)

    def accumulated(self):
        return self.fit(batch_size=2, accumulate=2)

    def distilled(self):
        loss = DistillationLoss(
            TinyNet(width=6, seed=7),
            task_loss=CombinedLoss(0.5, 2.0),
            channels=(8, 6),
            settings=DistillationSettings(channel_weight=1.0),
            seed=self.rank,
        )
        result = self.fit(loss=loss)
        return {**result, "adapter": loss.adapter.weight.flatten().tolist()}

    def evaluated(self):
        settings = EvaluationSettings(
            normalisation=self.dataset.info.normalisation, device="cpu", batch_size=2
        )
        found = evaluate(TinyNet(), self.dataset.split("val"), num_classes=3, settings=settings)
        return {"confusion": found.confusion_kk.tolist(), "cross_entropy": found.cross_entropy}

    def with_norm(self):
        return self.fit(net=TinyNet(norm=True))

    def synchronised(self, **changes):
        """Batches of three: the ranks have different numbers of images.

        By SGD: a bias before a norm has a gradient of rounding alone, which AdamW would blow up.
        """
        values = {"net": TinyNet(norm=True), "batch_size": 3, **BY_SGD, **changes}
        return self.fit(recipe=Recipe(sync_batch_norm=True), **values)

    def synchronised_with_all(self):
        """A norm that activates, two targets of one pass, an average, groups of batches."""
        net = TinyNet(seed=self.rank)
        net.norm = BatchNormAct2d(8, act_layer=nn.SiLU)
        return self.fit(
            net=net,
            recipe=Recipe(sync_batch_norm=True, ema_decay=0.8),
            batch_size=3,
            accumulate=2,
            mixup=0.7,
            **BY_SGD,
        )

    def synchronised_unfreezing(self):
        """Norms at rest keep what they have, and then share."""
        recipe = Recipe(sync_batch_norm=True, freeze_epochs=1, layer_decay=0.5)
        net = StagedNet(seed=self.rank)
        return self.fit(net=net, recipe=recipe, epochs=5, batch_size=3, **BY_SGD)

    def synchronised_stretched(self):
        """Statistics that are taken anew at full size are those of all, too."""
        return self.stretched(recipe=Recipe(sync_batch_norm=True), **BY_SGD)

    def synchronised_in_pieces(self):
        return self.synchronised(batch_size=4, micro_batches=2, precision="bf16")

    def synchronised_continued(self):
        self.synchronised(reporter=Recorder(stop_at=1), folder="synchronised")
        return self.synchronised(folder="synchronised")

    def norm_of_parts(self):
        """This rank's part of a batch of five, of which the last rank has one image."""
        ends = {(0, 1): (0, 5), (0, 2): (0, 4), (1, 2): (4, 5)}
        part = norm_batch()[slice(*ends[self.rank, self.world])]
        norm = nn.BatchNorm2d(4, momentum=0.3, eps=1e-3).double()
        norm.weight.data = torch.linspace(-1, 2, 4, dtype=torch.float64)
        part.requires_grad_()
        with synchronised(norm):
            normed = norm(part)
        (normed**3).sum().backward()
        values = {
            "normed": normed,
            "gradient": part.grad,
            "weight": norm.weight.grad,
            "bias": norm.bias.grad,
            "mean": norm.running_mean,
            "var": norm.running_var,
        }
        return {name: value.tolist() for name, value in values.items()}

    def lies(self):
        """What the proof says where it is declared, or not, and where it is so, or not."""
        said = {}
        for live in (False, True):
            settings = FitSettings(
                epochs=1,
                normalisation=self.dataset.info.normalisation,
                batch_size=4,
                device="cpu",
                recipe=Recipe(sync_batch_norm=live),
            )
            loss = SupervisedLoss(CombinedLoss(0.5, 2.0))
            with prepared(TinyNet(norm=True), self.dataset, settings, step_loss=loss) as run:
                for declared in (False, True):
                    faults = norm_faults(run.module.model, declared=declared)
                    said[f"declared {declared}, live {live}"] = faults
        return said

    def stretched(self, **changes):
        """Half the data and half the size at first; half of 16 pixels is 8 here."""
        unit, fidelity.SIDE_UNIT = fidelity.SIDE_UNIT, 4
        first = Stretch(last_epoch=1, data_share=0.5, size_share=0.5)
        stretches = (first, Stretch(last_epoch=3))
        try:
            return self.fit(
                net=TinyNet(norm=True),
                batch_size=2,
                fidelity=Fidelity(stretches=stretches),
                **changes,
            )
        finally:
            fidelity.SIDE_UNIT = unit

    def averaged(self):
        """Batches of three: the last one leaves a rank with one image, or none."""
        return self.fit(batch_size=3, recipe=Recipe(ema_decay=0.8))

    def averaged_with_norm(self):
        return self.fit(net=TinyNet(norm=True), recipe=Recipe(ema_decay=0.8))

    def self_taught(self):
        """Batches of three, two targets of one pass: each rank has its share of the divergence."""
        recipe = Recipe(ema_decay=0.8, ema_distillation=0.7)
        return self.fit(batch_size=3, recipe=recipe, mixup=0.7)

    def self_taught_synchronised(self):
        """The average's own statistics of norms are those of all, too."""
        recipe = Recipe(sync_batch_norm=True, ema_decay=0.8, ema_distillation=0.7)
        return self.fit(net=TinyNet(norm=True), batch_size=3, recipe=recipe, **BY_SGD)

    def self_taught_with_norm(self):
        recipe = Recipe(ema_decay=0.8, ema_distillation=0.7)
        return self.fit(net=TinyNet(norm=True), recipe=recipe)

    def frozen(self):
        """The norms rest with the encoder, so that ranks see what one process does."""
        recipe = Recipe(freeze_epochs=3, encoder_lr_factor=0.5, layer_decay=0.5)
        return self.fit(net=StagedNet(seed=self.rank), recipe=recipe, batch_size=3)

    def unfreezing(self):
        recipe = Recipe(freeze_epochs=1, layer_decay=0.5)
        return self.fit(net=StagedNet(seed=self.rank), recipe=recipe, epochs=5)

    def unfreezing_continued(self):
        recipe = Recipe(freeze_epochs=1, layer_decay=0.5)
        for reporter in (Recorder(stop_at=2), Recorder()):
            result = self.fit(
                net=StagedNet(seed=self.rank),
                recipe=recipe,
                epochs=5,
                reporter=reporter,
                folder="unfreezing",
            )
        return result

    def deeply_supervised(self):
        loss = DeepSupervision(
            CombinedLoss(0.5, 2.0),
            weight=0.4,
            map_channels=(4, 6, 8),
            num_classes=3,
            seed=self.rank,
        )
        recipe = Recipe(freeze_epochs=3)
        result = self.fit(net=StagedNet(seed=self.rank), loss=loss, recipe=recipe, batch_size=3)
        heads = torch.cat([value.flatten() for value in loss.heads.parameters()])
        return {**result, "heads": heads.tolist()}

    def stopped_by_first_rank(self):
        return self.fit(reporter=Recorder(stop_at=2 if self.rank == 0 else 1))

    def continued(self):
        self.fit(reporter=Recorder(stop_at=1), folder="continued")
        return self.fit(folder="continued")

    def loader_threads(self):
        return self.fit(loader_workers=2)

    def fastest(self):
        """Measured together, written by rank 0, obeyed by all."""
        folder = self.out / f"fastest-{self.world}"
        settings = with_fastest(
            FitSettings(
                epochs=1,
                normalisation=self.dataset.info.normalisation,
                batch_size=4,
                precision="fastest",
                device="cpu",
            ),
            Wanted(fastest_precision=True, fastest_loader=True, compiled=self.world > 1),
            folder,
            trained=(TinyNet(seed=self.rank), SupervisedLoss(CombinedLoss(0.5, 2.0))),
            dataset=self.dataset,
        )
        dist_barrier(self.world)
        return {"settings": to_json(settings), "kept": to_json(read_choice(folder))}

    def report_fails_on_first_rank(self):
        class Fails:
            def __init__(self, rank):
                self.rank = rank

            def report(self, epoch, metrics):
                if self.rank == 0:
                    raise OSError("disk full")
                return Verdict.CONTINUE

        return self.fault(lambda: self.fit(reporter=Fails(self.rank)))

    def not_finite_on_last_rank(self):
        broken = self.rank == self.world - 1

        class Breaks(SupervisedLoss):
            def forward(self, model, images_nchw, target_nhw):
                loss = super().forward(model, images_nchw, target_nhw)
                return loss * math.nan if broken else loss

        return self.fault(lambda: self.fit(loss=Breaks(CombinedLoss(0.0, 0.0))))

    def fault(self, run):
        try:
            run()
        except (OSError, TrialError) as error:
            return f"{type(error).__name__}: {error}"
        return "none"


SCENARIOS = (
    Rank.combined,
    Rank.all_options,
    Rank.generalised_dice_oversampled,
    Rank.all_mixes,
    Rank.accumulated,
    Rank.distilled,
    Rank.evaluated,
    Rank.with_norm,
    Rank.synchronised,
    Rank.synchronised_with_all,
    Rank.synchronised_unfreezing,
    Rank.synchronised_stretched,
    Rank.synchronised_in_pieces,
    Rank.synchronised_continued,
    Rank.norm_of_parts,
    Rank.lies,
    Rank.stretched,
    Rank.averaged,
    Rank.averaged_with_norm,
    Rank.self_taught,
    Rank.self_taught_synchronised,
    Rank.self_taught_with_norm,
    Rank.frozen,
    Rank.unfreezing,
    Rank.unfreezing_continued,
    Rank.deeply_supervised,
    Rank.stopped_by_first_rank,
    Rank.continued,
    Rank.loader_threads,
    Rank.fastest,
    Rank.report_fails_on_first_rank,
    Rank.not_finite_on_last_rank,
)


def norm_batch():
    generator = torch.Generator().manual_seed(4)
    return 3 + torch.randn(5, 4, 3, 2, generator=generator, dtype=torch.float64)


def dist_barrier(world):
    if world > 1:
        dist.barrier()


def main(root, out, rank, world):
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{out}/rendezvous",
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=60),
        )
    me = Rank(root, out, rank, world)
    found = {scenario.__name__: scenario(me) for scenario in SCENARIOS}
    Path(out, f"rank-{rank}-of-{world}.json").write_text(json.dumps(found))
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
