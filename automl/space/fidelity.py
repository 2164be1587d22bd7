"""The declaration of the fidelity: the share of the data and of the size up to each rung."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

from automl.fidelity import Fidelity, Stretch
from automl.space.faults import Fault, wrong_value
from automl.space.pydantic_faults import raise_faults
from automl.space.strict import Settings, Share

_RULE = "shares above 0 that do not fall, the last one 1"


def _not_falling(shares: tuple[float, ...]) -> tuple[float, ...]:
    if not shares or list(shares) != sorted(shares) or shares[-1] != 1:
        raise_faults([wrong_value((), shares, _RULE)])
    return shares


Shares = Annotated[tuple[Share, ...], AfterValidator(_not_falling)]


class FidelitySettings(Settings):
    """Cheaper epochs before the rungs: a value for each rung, and a last one for the rest."""

    data_share: Shares | None = None
    """Share of the training images up to each rung, then to the end: [0.25, 0.5, 1]; null: all."""
    size: Shares | None = None
    """Share of height and width up to each rung, then to the end, rounded to multiples of 32."""

    def fidelity(self, rungs: Sequence[int], epochs: int, seed: int) -> Fidelity:
        """The stretches of a trial of `epochs` epochs; every list is as long as they are many."""
        given = [shares for shares in (self.data_share, self.size) if shares is not None]
        if not given:
            return Fidelity()
        ends = (*rungs, epochs)
        full = (1.0,) * len(ends)
        data_shares = full if self.data_share is None else self.data_share
        sizes = full if self.size is None else self.size
        stretches = [
            Stretch(last_epoch=end, data_share=data_share, size_share=size)
            for end, data_share, size in zip(ends, data_shares, sizes, strict=True)
        ]
        return Fidelity(stretches=tuple(stretches), seed=seed)


def fidelity_faults(settings: FidelitySettings, rungs: Sequence[int], epochs: int) -> list[Fault]:
    """The lists that have not a value for each rung and one for the rest."""
    wanted = len(rungs) + 1
    count = "1 rung" if len(rungs) == 1 else f"{len(rungs)} rungs"
    ends = ", ".join(map(str, rungs))
    allowed = f"{wanted} values: one for each of {count} (after epoch {ends}), the last to the end"
    if not rungs:
        allowed = f"1 value: there is no rung in {epochs} epochs"
    return [
        wrong_value(("fidelity", name), shares, allowed)
        for name, shares in (("data_share", settings.data_share), ("size", settings.size))
        if shares is not None and len(shares) != wanted
    ]
