"""Every transform that a declared policy may hold, with its settings and what they may be.

Each setting says how far a transform may go, in its own unit; 0 is no change at all. `magnitude`,
from 0 to 1, stands for all settings of a transform that are not given: each is then that share of
its value at full strength. `automl/data/transforms.py` builds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from automl.space.limits import Limits

#: Without a value: how often a transform is applied, and how strong it is where it has no setting.
DEFAULT_P = 0.5
DEFAULT_MAGNITUDE = 0.5

P = Limits(kind="float", low=0.0, high=1.0, description="Probability, for each image.")
MAGNITUDE = Limits(
    kind="float", low=0.0, high=1.0, description="Strength, as a share of the full one."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How far a transform may go: at magnitude 1, and at most."""

    full: float
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformKind:
    """What a transform does, and its settings; one without is always as strong."""

    description: str
    settings: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def limits(self) -> Mapping[str, Limits]:
        """Every key that a declaration of this kind may have."""
        own = {name: setting.limits for name, setting in self.settings.items()}
        return {"p": P, **({"magnitude": MAGNITUDE} if own else {}), **own}

    def values(self, given: Mapping[str, float]) -> dict[str, float]:
        """Each setting as given, else by magnitude.

        Without a magnitude, what is not given is 0 beside a setting that is.
        """
        named = any(name in given for name in self.settings)
        magnitude = given.get("magnitude", 0.0 if named else DEFAULT_MAGNITUDE)
        return {
            name: given.get(name, magnitude * setting.full)
            for name, setting in self.settings.items()
        }


def _up_to(high: float, full: float, description: str) -> Setting:
    limits = Limits(kind="float", low=0.0, high=high, description=description)
    return Setting(full=full, limits=limits)


TRANSFORMS: Mapping[str, TransformKind] = MappingProxyType(
    {
        "horizontal_flip": TransformKind(description="Left and right change places."),
        "vertical_flip": TransformKind(description="Top and bottom change places."),
        "affine": TransformKind(
            description="Scaled, turned, sheared and shifted.",
            settings={
                "scale": _up_to(3.0, 1.0, "Zoom: sides times 1 / (1 + scale) to 1 + scale."),
                "rotate": _up_to(180.0, 45.0, "Degrees, either way."),
                "shear": _up_to(45.0, 20.0, "Degrees, either way."),
                "shift": _up_to(0.5, 0.2, "Share of the sides, either way."),
            },
        ),
        "resized_crop": TransformKind(
            description="A random part, brought back to the size of training.",
            settings={"crop": _up_to(0.95, 0.75, "Largest share of the area that is cut off.")},
        ),
        "perspective": TransformKind(
            description="Seen from another angle.",
            settings={"warp": _up_to(0.4, 0.2, "Share of the sides by which corners move.")},
        ),
        "elastic": TransformKind(
            description="Bent smoothly, as if drawn on rubber.",
            settings={
                "bend": _up_to(0.1, 0.03, "Root mean square shift, as a share of the shorter side.")
            },
        ),
        "grid_distortion": TransformKind(
            description="Cells of a 5 x 5 grid stretched and pressed.",
            settings={"stretch": _up_to(0.9, 0.5, "Share of a cell's sides.")},
        ),
        "brightness_contrast": TransformKind(
            description="Brighter or darker, with more or less contrast.",
            settings={
                "brightness": _up_to(1.0, 0.5, "Share of the range of values."),
                "contrast": _up_to(1.0, 0.5, "Factor's distance from 1."),
            },
        ),
        "hue_saturation": TransformKind(
            description="Other hues, colours stronger or paler.",
            settings={
                "hue": _up_to(180.0, 36.0, "Degrees of the circle of colours."),
                "saturation": _up_to(1.0, 0.4, "Share of the range of saturation."),
                "value": _up_to(1.0, 0.1, "Share of the range of values."),
            },
        ),
        "gamma": TransformKind(
            description="Values to a power.",
            settings={"gamma": _up_to(4.0, 1.0, "Powers from 1 / (1 + gamma) to 1 + gamma.")},
        ),
        "grayscale": TransformKind(description="Without colours."),
        "equalize": TransformKind(description="Each channel's histogram made even."),
        "clahe": TransformKind(
            description="Local contrast raised within limits (CLAHE).",
            settings={"clip": _up_to(16.0, 8.0, "Largest limit of contrast, above 1.")},
        ),
        "gaussian_blur": TransformKind(
            description="Out of focus.",
            settings={"sigma": _up_to(10.0, 3.0, "Largest standard deviation, in pixels.")},
        ),
        "motion_blur": TransformKind(
            description="Moved while it was taken.",
            settings={"length": _up_to(50.0, 15.0, "Largest way, in pixels; below 1 none.")},
        ),
        "sharpen": TransformKind(
            description="Edges made harder.",
            settings={"sharpness": _up_to(1.0, 1.0, "Share of the sharpened picture, at most.")},
        ),
        "gaussian_noise": TransformKind(
            description="Grey noise of a sensor.",
            settings={"std": _up_to(0.5, 0.1, "Largest deviation, as a share of white.")},
        ),
        "jpeg": TransformKind(
            description="Compressed as JPEG.",
            settings={"loss": _up_to(1.0, 0.9, "Lowest quality is 100 - 95 * loss.")},
        ),
        "coarse_dropout": TransformKind(
            description="One to four holes, grey and not counted.",
            settings={"side": _up_to(0.9, 0.4, "Longest side of a hole, as a share of a side.")},
        ),
    }
)
