"""Segmentation losses that leave pixels labelled `IGNORE` out.

Shapes: `logits_nkhw` (N, K, H, W) floats before the softmax, `target_nhw` (N, H, W) int64 labels
0 to K-1 or `IGNORE`, `weights_k` (K,) non-negative. Half precisions are computed in float32;
float64 stays float64. A batch whose every pixel is ignored gives 0 with a gradient of 0, and a
class that no pixel of a batch is labelled with has no term of its own: its false positives cost the
classes that they take pixels from.

Across ranks each loss is that of the global batch, the same on every rank, though it is no mean of
the ranks' own losses: the sums that it is made of are summed over the ranks. Gradients are scaled
so that their mean over the ranks, which is what DDP takes, is the gradient of the global loss.

Two classes need no loss of their own: the softmax of two logits is the sigmoid of their difference,
so cross entropy is then the binary cross entropy of that difference. Dice counts the ground as a
class beside the foreground, and `foreground_dice` the foreground alone.
"""

from automl.training.losses.combined import CombinedLoss, LossOptions, dice_loss, focal_loss
from automl.training.losses.weights import class_weights_from

__all__ = [
    "CombinedLoss",
    "LossOptions",
    "class_weights_from",
    "dice_loss",
    "focal_loss",
]
