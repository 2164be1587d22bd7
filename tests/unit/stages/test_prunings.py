"""What the report says of pruned students, and where the ranking lets them be."""

from automl.records import Candidate, Lineage, Measurement, Normalisation
from automl.stages.prunings import pruning_section


def student(name, verdict, precision="fp32"):
    recipe = {"student_pruning_ratio": 0.25, "epochs": 2}
    if verdict is not None:
        recipe["pruning"] = verdict
    return Candidate(
        candidate_id=name,
        artifact=f"candidates/{name}/model.onnx",
        lineage=Lineage(
            trial_id="0001-a",
            kind="student",
            precision=precision,
            recipe=recipe,
            teacher="trial1-fp32",
        ),
        params={},
        normalisation=Normalisation(mean=(0, 0, 0), std=(1, 1, 1)),
        measurements=(
            Measurement(metric="miou", value=0.41234, split="val"),
            Measurement(metric="macs_g", value=0.1),
        ),
    )


def test_every_verdict_on_a_pruned_student_is_in_the_report():
    lines = pruning_section(
        [
            student("trial1-student1-fp32", "accepted: 20 % faster than its teacher"),
            student("trial1-student2-fp32", "refused: as fast as its teacher"),
            student("trial1-student2-int8", "refused: as fast as its teacher", "int8"),
            student("trial1-student3-fp32", None),
        ]
    )
    table = [line for line in lines if line.startswith("| trial1")]
    assert len(table) == 2
    assert "accepted: 20 % faster than its teacher" in table[0]
    assert "refused: as fast as its teacher" in table[1]
    cells = [cell.strip() for cell in table[0].strip("|").split("|")]
    assert cells[:6] == ["trial1-student1-fp32", "trial1-fp32", "0.25", "0.4123", "0.100", "-"]


def test_without_pruned_students_there_is_no_section():
    assert pruning_section([student("trial1-fp32", None)]) == []
