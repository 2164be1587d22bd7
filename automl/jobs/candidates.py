"""A trained network on its way to a candidate: what it is, and the record of its exported file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from automl.models.build import SegmentationNet
from automl.records import Candidate, Lineage, Measurement, Normalisation, Scalar
from automl.space.parameters import TrialParameters

#: What makes a folder a candidate's; written last.
RECORD = "candidate.json"

#: The wrapped network, and the bare one beside it.
ARTIFACT = "model.onnx"
CORE = "core.onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedNetwork:
    """A trained network with all that its candidates' records say of it."""

    name: str
    model: SegmentationNet
    params: TrialParameters
    normalisation: Normalisation
    lineage: Lineage
    policy_params: Mapping[str, Scalar]


def candidate_record(
    network: FinishedNetwork,
    candidate_id: str,
    sizes: tuple[Measurement, ...],
    *,
    for_size_alone: bool = False,
) -> Candidate:
    """The record of one exported file of a network."""
    return Candidate(
        candidate_id=candidate_id,
        artifact=f"candidates/{candidate_id}/{ARTIFACT}",
        lineage=network.lineage,
        params={**network.params.values(), **network.policy_params},
        normalisation=network.normalisation,
        measurements=sizes,
        for_size_alone=for_size_alone,
    )
