"""An evaluation in lines for people."""

from __future__ import annotations

from automl.evaluation.evaluate import Evaluation, Record
from automl.evaluation.summary import Score

_TITLES = {
    "iou": "IoU",
    "dice": "Dice",
    "boundary_f1": "boundary F1",
    "hausdorff_95": "Hausdorff 95 (px)",
    "panoptic_components": "PQ of components",
}
_COLUMN = 24


def evaluation_lines(done: Evaluation) -> list[str]:
    """All that is printed of an evaluation."""
    summary, pictures = done.summary, done.pictures
    images = f"{summary.num_images} images of {pictures.split} at their own sizes"
    head = [
        f"bundle     {done.manifest.name} ({done.bundle})",
        f"data       {pictures.dataset}: {images}",
        f"masks by   {done.plan.text()}",
    ]
    if "boundary_f1" in summary.means:
        head.append(f"boundary   within {done.wanted.tolerance.text()}")
    if "hausdorff_95" in summary.means:
        head.append("Hausdorff  a class in only one of the two masks counts as the diagonal")
    if "panoptic_components" in summary.means:
        head.append("instances  components: connected parts of the masks, for want of instances")
    return [*head, "", *_table(done), "", *_record_lines(done.record, done)]


def _table(done: Evaluation) -> list[str]:
    summary, names = done.summary, done.manifest.classes
    width = max(len("all classes"), *(len(name) for name in names))
    titles = "".join(f"  {_TITLES[metric]:<{_COLUMN}}" for metric in summary.means)
    lines = [f"{'class':<{width}}  images{titles}".rstrip()]
    for index, name in enumerate(names):
        cells = [_cell(metric, own[index]) for metric, own in summary.classes.items()]
        lines.append(_row(f"{name:<{width}}  {summary.images_with[index]:>6}", cells))
    means = [_cell(metric, score) for metric, score in summary.means.items()]
    lines.append(_row(f"{'all classes':<{width}}  {summary.num_images:>6}", means))
    accuracy = _cell("pixel_accuracy", summary.pixel_accuracy)
    return [*lines, f"pixel accuracy {accuracy}, intervals 95 %, seed {summary.seed}"]


def _row(start: str, cells: list[str]) -> str:
    return (start + "".join(f"  {cell:<{_COLUMN}}" for cell in cells)).rstrip()


def _cell(metric: str, score: Score) -> str:
    form = ".2f" if metric == "hausdorff_95" else ".4f"
    if score.value is None:
        return "-"
    if score.interval is None:
        return f"{score.value:{form}}"
    low, high = score.interval
    return f"{score.value:{form}} [{low:{form}}, {high:{form}}]"


def _record_lines(record: Record, done: Evaluation) -> list[str]:
    height, width = done.manifest.input.size
    how = "letterboxed" if done.manifest.input.resize.is_letterbox else "resized"
    place = f"{how} to {height} x {width}"
    if record.recorded is None:
        return [f"recorded   nothing on {done.pictures.split}; {place} it is {record.repeated:.4f}"]
    interval = "" if record.interval is None else " [{:.4f}, {:.4f}]".format(*record.interval)
    line = (
        f"recorded   mIoU {record.recorded:.4f}{interval} on {done.pictures.split}, "
        f"images and masks {place}; here, so {how}: {record.repeated:.4f}"
    )
    if record.reproduced:
        return [f"{line}: as recorded"]
    other = "other images or another split than the record's"
    runtime = done.manifest.metrics_runtime
    if runtime != "onnxruntime":
        other += f", or the runtime: the record is of {runtime}, this is of onnxruntime"
    return [line, f"           not the same: {other}"]
