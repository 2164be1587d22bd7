import math
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Annotation
from PIL import Image

from automl.stages.pictures import FrontPoint, FrontText, draw_front, front_figure, front_steps


def point(latency_ms, accuracy, **marks) -> FrontPoint:
    fields = {"label": f"net at {latency_ms:g} ms", "kind": "trial fp32", **marks}
    return FrontPoint(latency_ms=latency_ms, accuracy=accuracy, **fields)


POINTS = (
    point(5.0, 0.50, on_front=True, is_default=True),
    point(9.0, 0.56, on_front=True),
    point(9.5, 0.53),
    point(4.0, 0.49, on_front=True, kind="student int8", is_best=True),
)


def labels(figure) -> list[Annotation]:
    (axes,) = figure.axes
    return [child for child in axes.get_children() if isinstance(child, Annotation)]


def drawn_positions(figure) -> list[tuple[float, float]]:
    (axes,) = figure.axes
    return sorted(
        tuple(map(float, offset))
        for marks in axes.collections
        for offset in marks.get_offsets()
        if marks.get_sizes()[0] < 200  # rings are larger
    )


def test_a_png_that_fits_a_readme_is_written_whole(tmp_path):
    draw_front(POINTS, tmp_path / "new" / "front.png")
    with Image.open(tmp_path / "new" / "front.png") as image:
        image.load()
        assert image.format == "PNG"
        assert image.size == (1280, 800)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["front.png"]


def test_the_same_points_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        draw_front(POINTS, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_every_point_is_drawn_once_where_it_was_measured():
    figure = front_figure(POINTS, FrontText())
    assert drawn_positions(figure) == sorted((p.latency_ms, p.accuracy) for p in POINTS)
    (axes,) = figure.axes
    for each in POINTS:
        assert axes.get_xlim()[0] < each.latency_ms < axes.get_xlim()[1]
        assert axes.get_ylim()[0] < each.accuracy < axes.get_ylim()[1]


def test_the_default_and_the_best_are_ringed_and_named_and_no_others():
    figure = front_figure(POINTS, FrontText())
    assert sorted(label.get_text() for label in labels(figure)) == [
        "best: net at 4 ms",
        "default: net at 5 ms",
    ]
    (axes,) = figure.axes
    rings = [marks for marks in axes.collections if marks.get_sizes()[0] > 200]
    assert sorted(tuple(ring.get_offsets()[0]) for ring in rings) == [(4.0, 0.49), (5.0, 0.5)]


def test_one_model_that_is_both_has_one_label():
    figure = front_figure([point(5.0, 0.5, is_default=True, is_best=True)], FrontText())
    assert [label.get_text() for label in labels(figure)] == ["default and best: net at 5 ms"]


def test_labels_cover_neither_points_nor_one_another_and_stay_inside():
    near = [point(8.0 + n / 10, 0.5 + n / 100, is_default=n == 2, is_best=n == 3) for n in range(6)]
    figure = front_figure([point(2.0, 0.3), *near], FrontText())
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [label.get_bbox_patch().get_window_extent() for label in labels(figure)]
    assert len(boxes) == 2
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert axes.bbox.x0 <= box.x0
        assert box.x1 <= axes.bbox.x1
        assert axes.bbox.y0 <= box.y0
        assert box.y1 <= axes.bbox.y1
        for at in drawn_positions(figure):
            assert not box.contains(*axes.transData.transform(at))


def test_kinds_differ_in_shape_and_colour_and_stand_in_the_legend():
    kinds = ["a", "b", "c", "d"]
    figure = front_figure(
        [point(5.0, 0.5, kind=kind, on_front=True) for kind in kinds], FrontText()
    )
    (axes,) = figure.axes
    shown = [marks for marks in axes.collections if len(marks.get_offsets())]
    assert len({marks.get_paths()[0].vertices.tobytes() for marks in shown}) == 4
    assert len({tuple(marks.get_facecolor()[0]) for marks in shown}) == 4
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["Pareto front", *kinds]


def test_trials_that_are_not_drawn_are_counted_in_the_caption():
    text = FrontText(not_drawn={"stopped": 5, "infeasible": 2, "failed": 0})
    caption = front_figure(POINTS, text).get_supxlabel()
    assert caption.startswith("4 candidates, 3 on the front")
    assert caption.endswith("trials not drawn: 5 stopped, 2 infeasible")
    assert "not drawn" not in front_figure(POINTS, FrontText()).get_supxlabel()


@pytest.mark.parametrize(("slowest", "scale"), [(7.9, "linear"), (8.1, "log"), (900.0, "log")])
def test_wide_latencies_have_a_logarithmic_axis_with_plain_numbers(slowest, scale):
    figure = front_figure([point(1.0, 0.4), point(slowest, 0.5)], FrontText())
    (axes,) = figure.axes
    assert axes.get_xscale() == scale
    figure.draw_without_rendering()
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert len(shown) >= 3
    assert all(math.isfinite(float(text)) for text in shown)


@pytest.mark.parametrize("same", [1, 3])
def test_a_single_place_can_be_drawn(tmp_path, same):
    draw_front([point(5.0, 0.5, on_front=True, is_best=True)] * same, tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 1000


def test_a_study_without_candidates_has_a_picture_that_says_so(tmp_path):
    text = FrontText(not_drawn={"failed": 3})
    figure = front_figure([], text)
    (axes,) = figure.axes
    assert [each.get_text() for each in axes.texts] == ["no candidate was measured"]
    assert figure.get_supxlabel().endswith("3 failed")
    draw_front([], tmp_path / "front.png", text=text)
    assert (tmp_path / "front.png").exists()


def test_texts_are_never_read_as_formulas(tmp_path):
    odd = point(5.0, 0.5, label="net_$a^$", kind="_$x$", is_best=True, on_front=True)
    draw_front(
        [odd], tmp_path / "front.png", text=FrontText(title="$", accuracy="$_", latency="^$")
    )
    (legend,) = front_figure([odd], FrontText()).legends
    assert len(legend.get_texts()) == 2


@pytest.mark.parametrize(
    ("latency_ms", "accuracy"),
    [(0.0, 0.5), (-1.0, 0.5), (math.inf, 0.5), (math.nan, 0.5), (1.0, math.nan)],
)
def test_points_that_cannot_be_drawn_are_refused(latency_ms, accuracy):
    with pytest.raises(ValueError, match="must be finite"):
        point(latency_ms, accuracy)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.builds(
            point,
            st.integers(1, 20).map(float),
            st.integers(0, 20).map(lambda value: value / 20),
            on_front=st.booleans(),
        )
    )
)
def test_the_line_is_the_best_accuracy_of_the_front_at_each_latency(points):
    steps = front_steps(points)
    for latency in range(1, 21):
        reachable = [p.accuracy for p in points if p.on_front and p.latency_ms <= latency]
        line = [accuracy for at, accuracy in steps if at <= latency]
        assert line[-1:] == ([max(reachable)] if reachable else [])
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(steps))


def test_the_drawn_line_goes_through_the_steps_to_the_edge():
    figure = front_figure(POINTS, FrontText())
    (axes,) = figure.axes
    (line,) = axes.lines
    edge = axes.get_xlim()[1]
    assert [tuple(map(float, corner)) for corner in line.get_xydata()] == [
        (4.0, 0.49),
        (5.0, 0.49),
        (5.0, 0.50),
        (9.0, 0.50),
        (9.0, 0.56),
        (edge, 0.56),
    ]
